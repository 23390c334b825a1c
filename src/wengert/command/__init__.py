"""What `python -m wengert` does, one module a subject."""
