"""All families of operations: importing this publishes them."""

from wengert.ops import activations as activations
from wengert.ops import picking as picking
from wengert.ops import pointwise as pointwise
from wengert.ops import scan as scan
from wengert.ops import scatter as scatter
from wengert.ops import special as special
from wengert.ops import transcendental as transcendental
