# Types of publish.py, for the compiled core.
from wengert.handles cimport current, make
from wengert.storage cimport twin
