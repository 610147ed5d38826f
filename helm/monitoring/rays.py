"""Metrics of Ray itself that rules and dashboards ask for, and what they say."""

RAYS: dict[str, str] = {
    "ray_node_cpu_utilization": "Per cent of the cores of a node that are busy.",
    "ray_node_cpu_count": "Cores of a node.",
    "ray_node_mem_used": "Bytes of a node's memory in use.",
    "ray_node_mem_total": "Bytes of a node's memory.",
    "ray_node_disk_usage": "Bytes in use on the disk of a node's root.",
    "ray_node_disk_free": "Bytes free on the disk of a node's root.",
    "ray_node_disk_io_read_speed": "Bytes a second read from a node's disks.",
    "ray_node_disk_io_write_speed": "Bytes a second written to a node's disks.",
    "ray_node_network_receive_speed": "Bytes a second received by a node.",
    "ray_node_network_send_speed": "Bytes a second sent by a node.",
    "ray_node_gpus_utilization": "Per cent of a GPU in use.",
    "ray_node_gram_used": "Megabytes of a GPU's memory in use.",
    "ray_node_gram_available": "Megabytes of a GPU's memory that are free.",
    "ray_component_uss_bytes": "Bytes of memory that are a kind of process's own.",
    "ray_object_store_memory": "Bytes of objects, by where they lie.",
    "ray_resources": "What Ray gives away (CPU, GPU, memory), in use and not.",
    "ray_actors": "Actors, by state.",
    "ray_tasks": "Tasks, by state.",
    "ray_serve_deployment_status": "6 while a deployment is healthy, less while it is not or is being "
    "changed.",
    "ray_serve_deployment_replica_healthy": "Replicas of a deployment that pass the health check.",
    "ray_serve_autoscaling_desired_replicas": "Replicas that Ray Serve wants of an autoscaled deployment.",
}
