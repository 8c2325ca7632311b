"""Per-example parameter gradients of single operations; one module per kind of layer.

Each module holds stand-ins: functions with the arguments of a torch function that return its output together
with a `ParameterUse`, which turns the gradient at that output into per-example parameter gradients.
"""
