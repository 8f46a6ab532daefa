"""What callers give: refused in one line, by its name, where it cannot be right."""
