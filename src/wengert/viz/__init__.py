"""Pictures of what a program computed and of how its gradients flow: graphs, values, paths, surfaces."""
