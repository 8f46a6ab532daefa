"""A look at two points before a measurement: can this network be measured, and rightly?

It costs a few passes, and is remembered (:mod:`~lecore.engine.network.remembering`) while the
network stays as it is, weights aside.
"""
