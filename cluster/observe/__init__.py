"""Prometheus and Grafana for a Ray on this machine."""
