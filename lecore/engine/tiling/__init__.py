"""Matrices over pairs of points, tile by tile: threads, processes, clusters, disks."""
