"""What finished work depends on, by content and code, the same in every process."""
