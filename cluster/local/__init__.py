"""A Ray on this machine."""
