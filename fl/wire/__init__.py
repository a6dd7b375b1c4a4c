"""What travels: generated protobuf code, and its translation to and from our own values."""
