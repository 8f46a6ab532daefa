"""Per-example gradients in factored form, for every kind of layer."""
