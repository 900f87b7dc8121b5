"""What optimised inversions share."""
