"""What a Python program calls: train, runs that were trained, and their networks in PyTorch.

Each function is the same work as a command, with its errors as exceptions of `charrnn.errors`.
"""
