"""From sources to prepared datasets on disk to batches."""
