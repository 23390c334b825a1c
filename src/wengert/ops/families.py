"""All families of operations: importing this publishes them."""

from wengert.ops import activations as activations
from wengert.ops import einsum as einsum
from wengert.ops import extremes as extremes
from wengert.ops import joining as joining
from wengert.ops import picking as picking
from wengert.ops import pointwise as pointwise
from wengert.ops import products as products
from wengert.ops import scan as scan
from wengert.ops import scatter as scatter
from wengert.ops import selection as selection
from wengert.ops import shaping as shaping
from wengert.ops import sorting as sorting
from wengert.ops import special as special
from wengert.ops import statistics as statistics
from wengert.ops import transcendental as transcendental
from wengert.ops.linalg import cholesky as cholesky
from wengert.ops.linalg import eigen as eigen
from wengert.ops.linalg import functions as functions
from wengert.ops.linalg import inverse as inverse
from wengert.ops.linalg import lu as lu
from wengert.ops.linalg import norms as norms
from wengert.ops.linalg import qr as qr
from wengert.ops.linalg import svd as svd
from wengert.ops.linalg import triangular as triangular
