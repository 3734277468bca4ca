"""What the tests of this folder share."""

LINES, STREAM = "0.2.0/lstm-lines", "0.2.0/gru-before-stream"
