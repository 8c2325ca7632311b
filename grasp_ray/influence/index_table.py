"""Parts of the gradient index as Parquet: the sketch is a fixed-size list of floats."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from grasp_ray.storage import Storage

SKETCH = "sketch"


def write_index_part(storage: Storage, name: str, rows: pd.DataFrame) -> None:
    """Write rows of `CheckpointSketch.compress`."""
    sketch_Nk = np.stack(rows[SKETCH].to_list())
    column = pa.FixedSizeListArray.from_arrays(pa.array(sketch_Nk.ravel()), sketch_Nk.shape[1])
    table = pa.Table.from_pandas(rows.drop(columns=SKETCH), preserve_index=False)
    buffer = io.BytesIO()
    pq.write_table(table.append_column(SKETCH, column), buffer, compression="none", use_dictionary=False)
    storage.write_bytes(name, buffer.getvalue())


def read_index_part(storage: Storage, name: str) -> pd.DataFrame:
    """What `write_index_part` wrote."""
    table = pq.read_table(io.BytesIO(storage.read_bytes(name)))
    column = table.column(SKETCH).combine_chunks()
    sketch_Nk = column.values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    rows: pd.DataFrame = table.drop_columns([SKETCH]).to_pandas()
    return rows.assign(**{SKETCH: list(sketch_Nk)})
