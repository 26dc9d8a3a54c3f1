"""A config and rows that train in no time."""

import pandas as pd

CONFIG = """\
# People and what they earn.
input_features:
  - {name: age, type: number}
  - {name: job, type: category}
output_features:
  - {name: rich, type: binary}
trainer: {epochs: 20, batch_size: 8}
"""
ROWS = pd.DataFrame(
    {
        "age": [20 + row % 40 for row in range(60)],
        "job": ["clerk" if row % 3 else "judge" for row in range(60)],
        "rich": ["yes" if row % 40 > 20 else "no" for row in range(60)],
    }
)
