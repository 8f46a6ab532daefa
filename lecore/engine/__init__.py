"""How the measurements of the core are computed: quickly, exactly, and checked."""
