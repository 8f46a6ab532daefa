"""He & Su, The Local Elasticity of Neural Networks (ICLR 2020)."""
