"""A synthetic study set whose true world position is known in every voxel."""
