"""PyTorch's longer sentences."""

from __future__ import annotations

IN_PLACE_LEAF = "leaf Variable that requires grad is being used in an in-place operation."
UNTRACKED = (
    "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given that this use"
    " case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view and the"
    " inplace either both inside the no_grad block (if you don't want the inplace to be tracked) or both outside (if"
    " you want the inplace to be tracked)."
)
NON_LEAF_GRAD = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be"
    " populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor,"
    " use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you access"
    " the leaf Tensor instead. See github.com/pytorch/pytorch/pull/30531 for more informations."
)
NOT_A_LEAF = (
    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a subgraph"
    " that doesn't require differentiation use var_no_grad = var.detach()."
)
DETACH_VIEW = (
    "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for training,"
    " and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence detach_() cannot be"
    " called on these gradients. To fix this error, please refer to the Optimizer.zero_grad() function in"
    " torch/optim/optimizer.py as a solution."
)
EXPANDED = (
    "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please"
    " clone() the tensor before performing the operation."
)
NO_VIEW = (
    "view size is not compatible with input tensor's size and stride (at least one dimension spans across two"
    " contiguous subspaces). Use .reshape(...) instead."
)
CUSTOM_VIEW = (
    "Output {} of {} is a view and is being modified inplace. This view was created inside a custom Function (or"
    " because an input was returned as-is) and the autograd logic to handle view+inplace would override the custom"
    " backward associated with the custom Function, leading to incorrect gradients. This behavior is forbidden. You can"
    " fix this by cloning the output of the custom Function."
)
DEEPCOPY = (
    "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  If you"
    " were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see"
    " https://github.com/pytorch/pytorch/pull/103001"
)
INFERENCE_SAVED = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation"
    " tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it in autograd, or"
    " use `torch.no_grad()` instead of `torch.inference_mode()`."
)
INFERENCE_WRITE = (
    "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a normal"
    " tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details."
)
INFERENCE_LEAF = "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
INFERENCE_VERSION = "Inference tensors do not track version counter."

# -- inside vmap --

NO_NUMBERS = (
    "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor,"
    " please try to rewrite what you're doing with other operations. A tensor inside vmap stands for all examples at"
    " once, and has no numbers of its own: compute with it, and look at what vmap returns."
)
BRANCH = (
    "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. The examples may not"
    " agree on the branch: compute both branches and choose between them with where()."
)
DYNAMIC = (
    "vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over {}. The examples"
    " may not agree on the shape of the result: use where(), or a sum weighted with the mask, instead."
)
ESCAPED = (
    "Either your tensor may have escaped from inside a function being vmapped and this is a user error (see"
    " https://pytorch.org/functorch/stable/ux_limitations.html): it was made while vmap ran and is used after that;"
    " return it from the function instead."
)
CAPTURED = (
    "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args"
    " that has more elements than `self`. This happened due to `other` being vmapped over but `self` not being vmapped"
    " over in a vmap. The tensor of shape {} was made outside of the function, so that the examples cannot each write"
    " to it: use out-of-place operators, or pass it as an argument that vmap maps over."
)
UNRULED = (
    "There is a performance drop because we have not yet implemented the batching rule for {}: vmap runs it once for"
    " each example. Give the primitive its `batch` rule."
)
RANDOM = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different'"
    " randomness flags on vmap or perform the randomness operation out of vmap"
)
SAME_BATCHED = (
    "Vmap does not currently support same randomness with a batched tensor input: the examples would not draw from the"
    " same distribution. Use randomness='different'."
)
IN_TRANSFORM = (
    "backward() called inside a functorch transform. This is not supported, please use functorch.grad or functorch.vjp"
    " instead or call backward() outside of functorch transforms."
)
NO_LEVEL = "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
TANGENT_SIZE = (
    "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not"
    " supported. Tensor is of size {} while the given forward gradient is of size {}."
)
