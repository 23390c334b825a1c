"""Linear algebra by LAPACK: one module for each family of factorizations, and what is made of them."""
