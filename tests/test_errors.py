"""Bad input: PyTorch's exception and its sentence, and every tensor as it was before.

Each row is a statement about the tensors of `environment`, the exception that it must raise, and how its sentence
begins.
The sentences were compared with torch 2.13.0's.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import wengert as torch

ROWS = [
    (
        "x + T.ones(2, 4)",
        "RuntimeError",
        "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
    ),
    ("x @ x", "RuntimeError", "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
    ("x.mm(x)", "RuntimeError", "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
    ("T.mm(x, v)", "RuntimeError", "mat2 must be a matrix"),
    ("T.bmm(x, x)", "RuntimeError", "batch1 must be a 3D tensor"),
    ("T.dot(x, v)", "RuntimeError", "1D tensors expected, but got 2D and 1D tensors"),
    (
        "T.dot(v, T.ones(4))",
        "RuntimeError",
        "inconsistent tensor size, expected tensor [3] and src [4] to have the same number of elements, but",
    ),
    ("x @ T.ones(2)", "RuntimeError", "size mismatch, got input"),
    (
        "v @ T.ones(4)",
        "RuntimeError",
        "inconsistent tensor size, expected tensor [3] and src [4] to have the same number of elements, but",
    ),
    ("T.matmul(s, x)", "RuntimeError", "both arguments to matmul need to be at least 1D, but they are 0D and 2D"),
    (
        "T.cat([x, T.ones(2, 4)])",
        "RuntimeError",
        "Sizes of tensors must match except in dimension 0. Expected size 3 but got size 4 for tensor number",
    ),
    ("T.cat([x, v])", "RuntimeError", "Tensors must have same number of dimensions: got 2 and 1"),
    ("T.cat([])", "ValueError", "torch.cat(): expected a non-empty list of Tensors"),
    (
        "T.stack([x, v])",
        "RuntimeError",
        "stack expects each tensor to be equal size, but got [2, 3] at entry 0 and [3] at entry 1",
    ),
    ("T.stack([])", "RuntimeError", "stack expects a non-empty TensorList"),
    ("x.reshape(4)", "RuntimeError", "shape '[4]' is invalid for input of size 6"),
    ("x.reshape(-1, -1)", "RuntimeError", "only one dimension can be inferred"),
    ("x.view(5, -1)", "RuntimeError", "shape '[5, -1]' is invalid for input of size 6"),
    (
        "x.t().view(6)",
        "RuntimeError",
        "view size is not compatible with input tensor's size and stride (at least one dimension spans",
    ),
    (
        "x.expand(3, 3)",
        "RuntimeError",
        "The expanded size of the tensor (3) must match the existing size (2) at non-singleton dimension 0. ",
    ),
    ("x.expand(3)", "RuntimeError", "expand([2, 3], size=[3]): the number of sizes provided (1)"),
    (
        "x.permute(0)",
        "RuntimeError",
        "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the",
    ),
    ("x.permute(0, 0)", "RuntimeError", "permute(): duplicate dims are not allowed."),
    ("x.transpose(0, 5)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
    ("x.squeeze(7)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 7)"),
    ("x.unsqueeze(9)", "IndexError", "Dimension out of range (expected to be in range of [-3, 2], but got 9)"),
    ("x.sum(2)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 2)"),
    ("x.sum((0, 0))", "RuntimeError", "dim 0 appears multiple times in the list of dims"),
    ("x.mean(-3)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got -3)"),
    ("x.amax(4)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 4)"),
    ("x.softmax(3)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 3)"),
    ("x.argmax(2)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 2)"),
    ("x.max(5)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
    ("x.split(-1)", "RuntimeError", "split expects split_size be non-negative, but got split_size=-1"),
    ("x.chunk(0)", "RuntimeError", "chunk expects `chunks` to be greater than 0, got: 0"),
    ("x.narrow(0, 1, 5)", "RuntimeError", "start (1) + length (5) exceeds dimension size (2)."),
    ("x.narrow(0, -5, 1)", "IndexError", "start out of range (expected to be in range of [-2, 2], but got -5)"),
    ("x.select(0, 9)", "IndexError", "select(): index 9 out of range for tensor of size [2, 3] at dimension 0"),
    ("x.unbind(4)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 4)"),
    ("x.flatten(1, 0)", "RuntimeError", "flatten() has invalid args: start_dim cannot come after end_dim"),
    ("x.gather(0, x)", "RuntimeError", "gather(): Expected dtype int32/int64 for index"),
    ("x.gather(1, T.tensor([[0, 5], [1, 2]]))", "RuntimeError", "index 5 is out of bounds for dimension 1 with size 3"),
    (
        "x.gather(0, T.tensor([0, 1]))",
        "RuntimeError",
        "Index tensor must have the same number of dimensions as input tensor",
    ),
    ("x.index_select(0, T.tensor([[0]]))", "IndexError", "index_select(): Index is supposed to be a vector"),
    ("x.index_select(0, T.tensor([7]))", "IndexError", "index out of range in self"),
    ("x.scatter(0, T.tensor([[9]]), 1.0)", "RuntimeError", "index 9 is out of bounds for dimension 0 with size 2"),
    (
        "x.index_add(0, T.tensor([0]), T.ones(1, 4))",
        "RuntimeError",
        "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape",
    ),
    ("x[5]", "IndexError", "index 5 is out of bounds for dimension 0 with size 2"),
    ("x[0, 9]", "IndexError", "index 9 is out of bounds for dimension 1 with size 3"),
    ("x[0, 0, 0]", "IndexError", "too many indices for tensor of dimension 2"),
    ("x[-7]", "IndexError", "index -7 is out of bounds for dimension 0 with size 2"),
    ("x[T.tensor([0, 5])]", "IndexError", "index 5 is out of bounds for dimension 0 with size 2"),
    (
        "x[T.tensor([True, False, True])]",
        "IndexError",
        "The shape of the mask [3] at index 0 does not match the shape of the indexed tensor [2, 3] at index",
    ),
    (
        "x[1.5]",
        "IndexError",
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices",
    ),
    ("x['a']", "TypeError", "new(): invalid data type 'str'"),
    ("x[::-1]", "ValueError", "step must be greater than zero"),
    (
        "s[0]",
        "IndexError",
        "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to",
    ),
    (
        "x[0] = T.ones(4)",
        "RuntimeError",
        "The expanded size of the tensor (3) must match the existing size (4) at non-singleton dimension 0. ",
    ),
    ("x[0] = 'a'", "TypeError", "can't assign a str to a torch.FloatTensor"),
    (
        "x[T.tensor([0])] = T.ones(2, 2)",
        "RuntimeError",
        "shape mismatch: value tensor of shape [2, 2] cannot be broadcast to indexing result of shape [1, 3]",
    ),
    ("x[9] = 1", "IndexError", "index 9 is out of bounds for dimension 0 with size 2"),
    ("i[0] = 1j", "RuntimeError", "value cannot be converted to type"),
    (
        "x.masked_fill(x, 0.0)",
        "RuntimeError",
        "masked_fill_ only supports boolean masks, but got mask with dtype float",
    ),
    (
        "x.masked_fill(T.ones(5, dtype=T.bool), 0.0)",
        "RuntimeError",
        "The size of tensor a (5) must match the size of tensor b (3) at non-singleton dimension 1",
    ),
    (
        "T.where(x, x, x)",
        "RuntimeError",
        "where expected condition to be a boolean tensor, but got a tensor with dtype",
    ),
    ("T.tensor([[1, 2], [3]])", "ValueError", "expected sequence of length 2 at dim 1 (got 1)"),
    ("T.tensor([1, [2, 3]])", "TypeError", "'list' object cannot be interpreted as"),
    ("T.tensor('abc')", "TypeError", "new(): invalid data type 'str'"),
    ("T.tensor([None])", "RuntimeError", "Could not infer dtype of NoneType"),
    ("T.tensor([1.0, 'a'])", "TypeError", "new(): invalid data type"),
    ("T.zeros(-1)", "RuntimeError", "zeros: Dimension size must be"),
    ("T.zeros(2, -3)", "RuntimeError", "zeros: Dimension size must be"),
    ("T.ones('a')", "TypeError", "ones(): argument 'size' (position 1) must be tuple of ints, not str"),
    ("T.zeros(2.5)", "TypeError", "zeros(): argument 'size' (position 1) must be tuple of ints, not float"),
    ("T.arange(0, 10, 0)", "RuntimeError", "step must be nonzero"),
    ("T.arange(0, 10, -1)", "RuntimeError", "upper bound and lower bound inconsistent with step sign"),
    ("T.arange(float('inf'))", "RuntimeError", "unsupported range: 0 -> inf"),
    ("T.linspace(0, 1, -1)", "RuntimeError", "number of steps must be non-negative"),
    ("T.eye(-1)", "RuntimeError", "n must be greater or equal to 0, got -1"),
    ("T.randint(5, 5, (2,))", "RuntimeError", "random_ expects 'from' to be less than 'to', but got from=5 >= to=5"),
    ("T.full((2, -1), 1.0)", "RuntimeError", "Trying to create tensor with negative dimension -1: [2, -1]"),
    ("T.randperm(-1)", "RuntimeError", "Trying to create tensor with negative dimension -1: [-1]"),
    ("T.zeros(2, dtype='float32')", "TypeError", "argument 'dtype' must be wengert.dtype, not"),
    ("T.zeros(2, device='tpu')", "RuntimeError", "Expected one of"),
    ("T.empty(2).to('nowhere')", "RuntimeError", "Expected one of"),
    ("x.item()", "RuntimeError", "a Tensor with 6 elements cannot be converted to Scalar"),
    ("v.item()", "RuntimeError", "a Tensor with 3 elements cannot be converted to Scalar"),
    ("int(x)", "ValueError", "only one element tensors can be converted to Python scalars"),
    ("bool(x)", "RuntimeError", "Boolean value of Tensor with more than one value is ambiguous"),
    ("len(s)", "TypeError", "len() of a 0-d tensor"),
    ("iter(s)", "TypeError", "iteration over a 0-d tensor"),
    ("float(v)", "ValueError", "only one element tensors can be converted to Python scalars"),
    ("x.backward()", "RuntimeError", "element 0 of tensors does not require grad and does not have a grad_fn"),
    ("w.backward()", "RuntimeError", "grad can be implicitly created only for scalar outputs"),
    ("(w * 2).backward()", "RuntimeError", "grad can be implicitly created only for scalar outputs"),
    ("(w * 2).backward(T.ones(4))", "RuntimeError", "Mismatch in shape: grad_output[0] has a shape of"),
    (
        "T.ones(3).sum().backward()",
        "RuntimeError",
        "element 0 of tensors does not require grad and does not have a grad_fn",
    ),
    (
        "(w > 0).float().sum().backward()",
        "RuntimeError",
        "element 0 of tensors does not require grad and does not have a grad_fn",
    ),
    (
        "i.float().requires_grad_().long().sum().backward()",
        "RuntimeError",
        "element 0 of tensors does not require grad and does not have a grad_fn",
    ),
    ("T.autograd.grad(w.sum(), v)", "RuntimeError", "One of the differentiated Tensors does not require grad"),
    ("T.autograd.grad(w.sum(), [w, u])", "RuntimeError", "One of the differentiated Tensors does not require grad"),
    ("T.autograd.grad(w * 2, w)", "RuntimeError", "grad can be implicitly created only for scalar outputs"),
    ("T.autograd.grad(w.sum(), [])", "RuntimeError", "`inputs` argument to `grad()` cannot be empty."),
    ("T.autograd.backward(w.sum(), inputs=[])", "RuntimeError", "`inputs` argument to `backward()` cannot be empty."),
    ("T.autograd.grad(w.sum(), w, T.ones(2))", "RuntimeError", "Mismatch in shape: grad_output[0] has a shape of"),
    (
        "freed()",
        "RuntimeError",
        "Trying to backward through the graph a second time (or directly access saved tensors after they",
    ),
    ("w.add_(1)", "RuntimeError", "a leaf Variable that requires grad is being used in an in-place operation."),
    (
        "w[0] = 1",
        "RuntimeError",
        "a view of a leaf Variable that requires grad is being used in an in-place operation.",
    ),
    ("w.zero_()", "RuntimeError", "a leaf Variable that requires grad is being used in an in-place operation."),
    (
        "w.view(3)[0] = 5",
        "RuntimeError",
        "a view of a leaf Variable that requires grad is being used in an in-place operation.",
    ),
    ("w.mul_(2)", "RuntimeError", "a leaf Variable that requires grad is being used in an in-place operation."),
    (
        "e.add_(1)",
        "RuntimeError",
        "unsupported operation: more than one element of the written-to tensor refers to a single memory",
    ),
    (
        "e[0] = 2",
        "RuntimeError",
        "unsupported operation: more than one element of the written-to tensor refers to a single memory",
    ),
    (
        "e.copy_(T.ones(3, 3))",
        "RuntimeError",
        "unsupported operation: more than one element of the written-to tensor refers to a single memory",
    ),
    ("i.requires_grad_()", "RuntimeError", "only Tensors of floating point dtype can require gradients"),
    (
        "T.tensor([1, 2], requires_grad=True)",
        "RuntimeError",
        "Only Tensors of floating point and complex dtype can require gradients",
    ),
    ("i.add_(0.5)", "RuntimeError", "result type Float can't be cast to the desired output type Long"),
    ("i.div_(2)", "RuntimeError", "result type Float can't be cast to the desired output type Long"),
    ("x.add_(1j)", "RuntimeError", "result type ComplexFloat can't be cast to the desired output type Float"),
    (
        "x.add_(T.ones(4, 3))",
        "RuntimeError",
        "The size of tensor a (2) must match the size of tensor b (4) at non-singleton dimension 0",
    ),
    ("v.mul_(T.ones(2, 3))", "RuntimeError", "output with shape [3] doesn't match the broadcast shape [2, 3]"),
    (
        "(w * 2).requires_grad_(False)",
        "RuntimeError",
        "you can only change requires_grad flags of leaf variables. If you want to use a computed variable",
    ),
    (
        "w.numpy()",
        "RuntimeError",
        "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
    ),
    (
        "w.grad = T.ones(4)",
        "RuntimeError",
        "attempting to assign a gradient of size '[4]' to a tensor of size '[3]'. Please ensure that the",
    ),
    ("w.grad = T.ones(3, dtype=T.float64)", "RuntimeError", "attempting to assign a gradient with dtype"),
    ("w.grad = 3", "TypeError", "assigned grad expected to be a Tensor or None but got grad of type int"),
    (
        "x.to(T.float64).mm(T.ones(3, 2))",
        "RuntimeError",
        "expected m1 and m2 to have the same dtype, but got: double != float",
    ),
    (
        "T.mm(x, i.reshape(3, 1))",
        "RuntimeError",
        "expected m1 and m2 to have the same dtype, but got: float != long int",
    ),
    (
        "i.mean()",
        "RuntimeError",
        "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype.",
    ),
    ("i.float() @ i", "RuntimeError", "dot : expected both vectors to have same dtype, but found Float and Long"),
    ("T.log_softmax(i, 0)", "NotImplementedError", "\"log_softmax_lastdim_kernel_impl\" not implemented for 'Long'"),
    ("T.std(i)", "RuntimeError", "std and var only support floating point and complex dtypes"),
    ("T.conj(x).imag", "RuntimeError", "imag is not implemented for tensors with non-complex dtypes."),
    ("c < c", "NotImplementedError", '"lt_cpu" not implemented for'),
    ("c.max()", "NotImplementedError", '"max_cpu" not implemented for wengert.complex64: complex'),
    ("T.sort(c)", "RuntimeError", "Sort does not support complex dtypes on CPU; they have no"),
    ("T.argmax(c)", "RuntimeError", "argmax(): does not support complex input"),
    ("T.clamp(x)", "RuntimeError", "torch.clamp: At least one of 'min' or 'max' must not be None"),
    ("T.clamp(c, 0, 1)", "NotImplementedError", "clamp is not supported for complex types"),
    ("T.bitwise_and(x, x)", "NotImplementedError", "\"bitwise_and_cpu\" not implemented for 'Float'"),
    ("x & x", "NotImplementedError", "\"bitwise_and_cpu\" not implemented for 'Float'"),
    ("~x", "TypeError", "~ (operator.invert) is only implemented on integer and Boolean-type tensors"),
    ("x << 1", "NotImplementedError", "\"lshift_cpu\" not implemented for 'Float'"),
    ("i // T.tensor(0)", "RuntimeError", "ZeroDivisionError"),
    ("i % 0", "RuntimeError", "ZeroDivisionError"),
    ("T.tensor(2) ** -1", "RuntimeError", "Integers to negative integer powers are not allowed."),
    ("i ** -1", "RuntimeError", "Integers to negative integer powers are not allowed."),
    ("x.sqrt(3)", "TypeError", "sqrt() takes 1 positional argument but 2 were"),
    ("x.nosuchthing", "AttributeError", "'Tensor' object has no attribute 'nosuchthing'"),
    ("T.nosuchthing(x)", "AttributeError", "module 'wengert' has no attribute"),
    ("x.sum(foo=1)", "TypeError", "sum() got an unexpected keyword argument"),
    ("T.add(x)", "TypeError", "add() missing 1 required positional argument:"),
    ("T.add(x, 'a')", "TypeError", "expected a Tensor or a number, but got"),
    ("x + 'a'", "TypeError", "unsupported operand type(s) for +: 'Tensor' and 'str'"),
    ("x + None", "TypeError", "unsupported operand type(s) for +: 'Tensor' and 'NoneType'"),
    ("x + [1, 2, 3]", "TypeError", "unsupported operand type(s) for +: 'Tensor' and 'list'"),
    ("'a' * x", "TypeError", "only integer tensors of a single element can be converted to an index"),
    ("x < 'a'", "TypeError", "'<' not supported between instances of 'Tensor' and 'str'"),
    (
        "x.repeat(2)",
        "RuntimeError",
        "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor",
    ),
    ("x.repeat(-1, 2)", "RuntimeError", "Trying to create tensor with negative dimension"),
    ("x.tile(-1)", "RuntimeError", "Trying to create tensor with negative dimension"),
    ("x.roll(1, 5)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
    ("x.flip(4)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 4)"),
    ("x.diagonal(0, 0, 0)", "RuntimeError", "diagonal dimensions cannot be identical 0, 0"),
    ("v.diagonal()", "IndexError", "Dimension out of range (expected to be in range of [-1, 0], but got 1)"),
    ("T.tril(v)", "RuntimeError", "tril: input tensor must have at least 2 dimensions"),
    ("v.mT", "RuntimeError", "tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor."),
    ("x.cumsum(3)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 3)"),
    ("x.sort(4)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 4)"),
    ("x.topk(9)", "RuntimeError", "selected index k out of range"),
    ("x.kthvalue(0)", "RuntimeError", "kthvalue(): selected number k out of range for dimension 1"),
    ("x.quantile(2.0)", "RuntimeError", "quantile() q must be in the range [0, 1] but got 2"),
    ("x.prod(7)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 7)"),
    ("x.std(5)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
    ("x.var(9)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 9)"),
    ("x.norm(dim=8)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 8)"),
    (
        "T.einsum('ij,jk->ik', x, x)",
        "RuntimeError",
        "einsum(): subscript j has size 2 for operand 1 which does not broadcast with previously seen size 3",
    ),
    (
        "T.einsum('ij->k', x)",
        "RuntimeError",
        "einsum(): output subscript k does not appear in the equation for any input operand",
    ),
    (
        "T.einsum('ij', v)",
        "RuntimeError",
        "einsum(): the number of subscripts in the equation (2) does not match the number of dimensions (1)",
    ),
    (
        "T.linalg.inv(x)",
        "RuntimeError",
        "linalg.inv: A must be batches of square matrices, but they are 2 by 3 matrices",
    ),
    (
        "T.linalg.inv(T.zeros(2, 2))",
        "LinAlgError",
        "linalg.inv: The diagonal element 1 is zero, the inversion could not be completed because the input",
    ),
    (
        "T.linalg.cholesky(-T.eye(2))",
        "LinAlgError",
        "linalg.cholesky: The factorization could not be completed because the input is not",
    ),
    (
        "T.linalg.solve(T.eye(2), T.ones(3))",
        "RuntimeError",
        "linalg.solve: Incompatible shapes of A and B for the equation AX = B (2x2 and 3x1)",
    ),
    (
        "T.linalg.det(x)",
        "RuntimeError",
        "linalg.det: A must be batches of square matrices, but they are 2 by 3 matrices",
    ),
    (
        "T.linalg.eigh(x)",
        "RuntimeError",
        "linalg.eigh: A must be batches of square matrices, but they are 2 by 3 matrices",
    ),
    ("F.linear(x, T.ones(4, 4))", "RuntimeError", "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x4)"),
    (
        "F.conv2d(T.ones(1, 3, 8, 8), T.ones(2, 4, 3, 3))",
        "RuntimeError",
        "Given groups=1, weight of size [2, 4, 3, 3], expected input[1, 3, 8, 8] to have 4 channels, but got",
    ),
    (
        "F.conv2d(T.ones(8, 8), T.ones(2, 4, 3, 3))",
        "RuntimeError",
        "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [8, 8]",
    ),
    (
        "F.max_pool2d(T.ones(1, 1, 2, 2), 3)",
        "RuntimeError",
        "Given input size: (1x2x2). Calculated output size: (1x0x0). Output size is too small",
    ),
    ("F.cross_entropy(x, T.tensor([0, 7]))", "IndexError", "Target 7 is out of bounds."),
    (
        "F.cross_entropy(x, T.tensor([0, 1, 2]))",
        "ValueError",
        "Expected input batch_size (2) to match target batch_size (3).",
    ),
    ("F.nll_loss(x, T.ones(2))", "RuntimeError", "expected target dtype to be Long or Byte, but got Float"),
    ("F.mse_loss(x, 3)", "TypeError", "argument 'target' must be Tensor, not"),
    ("F.embedding(T.tensor([9]), x)", "IndexError", "index out of range in self"),
    (
        "F.layer_norm(x, (4,))",
        "RuntimeError",
        "Given normalized_shape=[4], expected input with shape [*, 4], but got input of size[2, 3]",
    ),
    (
        "F.batch_norm(T.ones(1, 3), None, None, training=True)",
        "ValueError",
        "Expected more than 1 value per channel when training, got input size",
    ),
    ("F.dropout(x, 1.5)", "ValueError", "dropout probability has to be between 0 and 1, but got 1.5"),
    ("F.softmax(x, 5)", "IndexError", "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
    ("F.pad(x, (1,))", "RuntimeError", "Padding length must be divisible by 2"),
    ("F.binary_cross_entropy(x + 2, x)", "RuntimeError", "all elements of input should be between 0 and 1"),
    ("F.one_hot(T.tensor([-1]))", "RuntimeError", "Class values must be non-negative."),
    ("T.nn.Linear(3, 2)(T.ones(2, 4))", "RuntimeError", "mat1 and mat2 shapes cannot be multiplied (2x4 and 3x2)"),
    (
        "T.nn.Conv2d(3, 2, 3)(T.ones(1, 2, 5, 5))",
        "RuntimeError",
        "Given groups=1, weight of size [2, 3, 3, 3], expected input[1, 2, 5, 5] to have 3 channels, but got",
    ),
    ("T.nn.Linear(3, 2).load_state_dict({})", "RuntimeError", "Error(s) in loading state_dict for Linear:"),
    ("T.optim.SGD([], lr=0.1)", "ValueError", "optimizer got an empty parameter list"),
    ("T.optim.SGD([x], lr=-1)", "ValueError", "Invalid learning rate: -1"),
    ("T.optim.Adam([w * 2])", "ValueError", "can't optimize a non-leaf Tensor"),
    ("T.manual_seed('a')", "ValueError", "invalid literal for int() with base 10: 'a'"),
    ("T.from_numpy([1])", "TypeError", "expected np.ndarray (got list)"),
    (
        "x.as_strided((5, 5), (1, 1))",
        "RuntimeError",
        "setStorage: sizes [5, 5], strides [1, 1], storage offset 0, and itemsize 4 requiring a storage size",
    ),
    (
        "x.view(T.int64)",
        "RuntimeError",
        "self.size(-1) must be divisible by 2 to view Float as Long (different element sizes), but got 3",
    ),
    (
        "copy.deepcopy(w * 2)",
        "RuntimeError",
        "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the",
    ),
    ("w.register_hook(3)", "TypeError", "a hook must be callable, but got"),
    (
        "x.register_hook(lambda g: g)",
        "RuntimeError",
        "cannot register a hook on a tensor that doesn't require gradient",
    ),
    ("x.retain_grad()", "RuntimeError", "can't retain_grad on Tensor that has requires_grad=False"),
    (
        "u.detach_()",
        "RuntimeError",
        "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP)",
    ),
    ("x.data = 3", "TypeError", "Variable data has to be a tensor, but got int"),
    ("x.squeeze((0, 0))", "RuntimeError", "dim 0 appears multiple times in the list of dims"),
    (
        "x.unflatten(1, (2, 2))",
        "RuntimeError",
        "unflatten: Provided sizes [2, 2] don't multiply up to the size of dim 1 (3) in the input tensor",
    ),
    ("T.broadcast_to(x, (3,))", "RuntimeError", "expand([2, 3], size=[3]): the number of sizes provided (1)"),
    ("T.meshgrid(x)", "RuntimeError", "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but"),
    (
        "T.multinomial(T.tensor([0.0, 0.0]), 1)",
        "RuntimeError",
        "invalid multinomial distribution (sum of probabilities <= 0)",
    ),
    ("T.bernoulli(T.tensor([2.0]))", "RuntimeError", "Expected p_in >= 0 && p_in <= 1 to be true, but got false."),
    ("T.normal(0.0, -1.0, (2,))", "RuntimeError", "normal expects std >= 0.0, but found std -1"),
    ("F.max_pool1d(T.ones(1, 1, 3), 2, dilation=0)", "RuntimeError", "dilation must be greater than zero, but got 0"),
    ("F.avg_pool2d(T.ones(1, 1, 4, 4), 2, padding=-1)", "RuntimeError", "pad must be non-negative"),
    ("F.max_pool2d(T.ones(1, 0, 4, 4), 2)", "RuntimeError", "Expected 3D or 4D (batch mode) tensor with optional"),
    ("F.adaptive_avg_pool2d(x, 2)", "ValueError", "Input dimension should be at least 3"),
    ("F.conv2d(T.ones(1, 1, 4, 4), T.ones(1, 1, 2, 2), stride=0)", "RuntimeError", "non-positive stride is not"),
    ("F.conv2d(T.ones(1, 1, 4, 4), T.ones(1, 1, 2, 2), padding=-1)", "RuntimeError", "negative padding is not"),
    ("F.conv2d(T.ones(1, 1, 4, 4), T.ones(1, 1, 2, 2), dilation=0)", "RuntimeError", "dilation should be greater"),
    ("F.hardtanh(x, 2.0, 1.0)", "ValueError", "min_val cannot be greater than max_val"),
]


def environment() -> dict:
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    names = {
        "x": x,
        "v": torch.tensor([1.0, 2.0, 3.0]),
        "w": w,
        "s": torch.tensor(2.0),
        "i": torch.tensor([1, 2, 3]),
        "e": torch.ones(3, 1).expand(3, 3),
        "c": torch.tensor([1 + 1j, 2j]),
        "u": x[0],
    }

    def freed() -> None:
        y = (w * w).sum()
        y.backward()
        w.grad = None
        y.backward()

    return {**names, "T": torch, "F": torch.nn.functional, "copy": copy, "freed": freed}


def state(names: dict) -> dict:
    """All that a tensor shows of itself."""
    tensors = {k: t for k, t in names.items() if isinstance(t, torch.Tensor)}
    return {
        k: (t.detach().numpy().tobytes(), t.shape, t.stride(), t.dtype, t._version, t.requires_grad, t.is_leaf)
        for k, t in tensors.items()
    }


@pytest.mark.parametrize(("code", "error", "sentence"), ROWS, ids=[row[0] for row in ROWS])
def test_bad_input_is_refused_and_changes_nothing(code, error, sentence):
    names = environment()
    before = state(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception) as caught:  # noqa: PT011 -- the type is compared by name below
            exec(code, names)
    assert type(caught.value).__name__ == error
    assert str(caught.value).startswith(sentence)
    assert state(names) == before
    assert names["w"].grad is None
    for k in ("x", "v", "s", "e", "u"):  # all are still of use
        np.testing.assert_array_equal((names[k] * 2).numpy(), names[k].numpy() * 2)
    (names["w"] ** 2).sum().backward()
    np.testing.assert_array_equal(names["w"].grad.numpy(), [2.0, 4.0, 6.0])
