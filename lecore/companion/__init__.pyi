from .records import figure as figure
from .records import record as record
