"""All families of operations: importing this publishes them."""

from wengert.ops import extremes as extremes
from wengert.ops import joining as joining
from wengert.ops import picking as picking
from wengert.ops import scan as scan
from wengert.ops import scatter as scatter
from wengert.ops import selection as selection
from wengert.ops import shaping as shaping
from wengert.ops import statistics as statistics
from wengert.ops import transcendental as transcendental
