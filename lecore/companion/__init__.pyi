from .figures import use_style as use_style
from .records import figure as figure
from .records import record as record
from .repeated_runs import record_cells as record_cells
from .repeated_runs import record_runs as record_runs
