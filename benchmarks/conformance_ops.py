"""Which of PyTorch's operator entries count as tier 1 and 2, and which are left out, with the reason."""

from __future__ import annotations

TIER_1 = set(
    """
    add sub mul div rsub neg pow abs exp log sqrt rsqrt reciprocal square sin cos tanh sigmoid clamp clamp_min clamp_max
    maximum minimum where sum mean amax amin max min prod var std logsumexp cumsum softmax log_softmax matmul mm bmm
    addmm mv dot einsum outer reshape view permute transpose t T mT expand squeeze unsqueeze flatten cat stack split
    chunk unbind __getitem__ select narrow index_select gather scatter scatter_add index_put index_add masked_fill
    masked_select repeat flip tril triu diagonal diag clone contiguous to broadcast_to roll norm nn.functional.linear
    nn.functional.relu nn.functional.gelu nn.functional.silu nn.functional.leaky_relu nn.functional.softplus
    nn.functional.conv1d nn.functional.conv2d nn.functional.max_pool2d nn.functional.avg_pool2d
    nn.functional.layer_norm nn.functional.batch_norm nn.functional.group_norm nn.functional.embedding
    nn.functional.cross_entropy nn.functional.nll_loss nn.functional.mse_loss
    nn.functional.binary_cross_entropy_with_logits nn.functional.pad nn.functional.scaled_dot_product_attention
    nn.functional.normalize
    """.split()
)
TIER_2 = set(
    """
    tan asin acos atan sinh cosh asinh acosh atanh atan2 hypot expm1 exp2 log2 log10 log1p erf erfc erfinv lgamma
    digamma polygamma sinc logit xlogy sign sgn floor round fmod remainder fmax logaddexp lerp addcmul copysign
    nan_to_num float_power cumprod cummax cummin logcumsumexp nansum median quantile kthvalue sort topk aminmax
    std_mean var_mean dist diff trapezoid gradient cov renorm mode index_fill index_copy scatter_reduce
    masked_scatter take take_along_dim put slice_scatter select_scatter diagonal_scatter movedim unfold unflatten
    tensor_split hstack vstack tile repeat_interleave diag_embed block_diag meshgrid rot90 as_strided sum_to_size fill
    baddbmm addmv inner vdot kron cross tensordot trace cdist matrix_exp logdet linalg.inv linalg.solve
    linalg.solve_triangular linalg.det linalg.slogdet linalg.cholesky linalg.qr linalg.svd linalg.svdvals linalg.eigh
    linalg.eigvalsh linalg.eig linalg.lu linalg.lu_factor linalg.lstsq linalg.pinv linalg.matrix_power
    linalg.multi_dot linalg.vector_norm linalg.matrix_norm linalg.cond linalg.householder_product complex polar real
    imag conj resolve_conj angle view_as_real view_as_complex H fft.fft fft.ifft fft.rfft fft.irfft fft.fft2 fft.fftn
    fft.rfftn fft.irfftn fft.hfft nn.functional.elu nn.functional.selu nn.functional.mish nn.functional.hardtanh
    nn.functional.relu6 nn.functional.hardswish nn.functional.prelu nn.functional.glu nn.functional.logsigmoid
    nn.functional.dropout nn.functional.instance_norm nn.functional.rms_norm nn.functional.conv3d
    nn.functional.conv_transpose1d nn.functional.conv_transpose2d nn.functional.max_pool1d
    nn.functional.adaptive_avg_pool2d nn.functional.interpolate nn.functional.grid_sample nn.functional.unfold
    nn.functional.pixel_shuffle nn.functional.l1_loss nn.functional.smooth_l1_loss nn.functional.huber_loss
    nn.functional.kl_div nn.functional.binary_cross_entropy nn.functional.cosine_similarity nn.functional.ctc_loss
    nn.functional.embedding_bag
    """.split()
)

RANDOM = "its result is drawn at random"
OTHER = "it belongs to another part of PyTorch: sparse, quantised, CUDA or internal operators"
LEFT_OUT = {
    **dict.fromkeys(
        """
        normal randn randn_like rand_like randint randint_like multinomial bernoulli cauchy exponential geometric
        log_normal uniform nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d
        nn.functional.alpha_dropout nn.functional.feature_alpha_dropout nn.functional.rrelu
        nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d svd_lowrank pca_lowrank empty
        empty_like empty_strided empty_permuted new_empty new_empty_strided normal_in_place
        """.split(),
        RANDOM,
    ),
    **dict.fromkeys(
        """
        jiterator_unary jiterator_binary jiterator_4inputs_with_extra_args jiterator_binary_return_by_ref
        jiterator_2inputs_2outputs to_sparse sparse.mm sparse.sampled_addmm
        """.split(),
        OTHER,
    ),
}
