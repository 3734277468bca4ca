"""A trained model for other programs: a lesson in numpy, an ONNX graph, a folder for a model hub.

Everything is made of the model file and what lies beside it. No torch, and no command line.
"""
