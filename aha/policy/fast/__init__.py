"""Fast ways to compute a policy of the dense family, and what decides whether they can serve one."""

__all__ = ["adjacent", "packed", "packed_scoring", "paths"]
