from .figures import use_style as use_style
from .records import figure as figure
from .records import record as record
from .tables import record_cells as record_cells
from .tables import record_runs as record_runs
