"""Ray on bare machines."""
