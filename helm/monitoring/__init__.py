"""Rules, dashboards and the page of metrics, all made from the tables in lib/track."""
