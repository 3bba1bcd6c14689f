"""`maibench data audit`: what gives the labels of a data set away, and what its splits share."""
