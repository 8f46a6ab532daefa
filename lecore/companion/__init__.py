"""The book's machinery: records, claims, executing chapters, building, the command line."""
