"""What torch has no fast function for, in C: each kernel a source and the Python that calls it.

A machine without a C compiler has none of them (`compiled.library`); every caller has a way through torch.
"""
