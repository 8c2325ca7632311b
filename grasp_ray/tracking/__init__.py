"""The only room that imports mlflow: what an audit leaves in MLflow, and where to look at it.

mlflow reads these switches when it is imported, so they are set here, before any module of the room can.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # jobs print one address, at the end
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"  # models are torch.export archives
