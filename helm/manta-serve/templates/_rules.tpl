{{/* What the operator and Ray Serve refuse or ignore only after `helm install` has said that all is well. */}}
{{- define "manta-serve.rules" -}}
{{- include "manta.rules.noKubernetesAuth" (dict "root" . "kind" "RayService") -}}
{{- include "manta-serve.rules.upgrade" . -}}
{{- include "manta-serve.rules.endpoint" . -}}
{{- include "manta-serve.rules.availability" . -}}
{{- with .Values.head.serviceName -}}
{{- include "manta.refuse" (dict "path" "head.serviceName" "given" . "allowed" "a RayService names the head's Service itself; leave it out") -}}
{{- end -}}
{{- $grace := include "manta-serve.grace" . | int64 -}}
{{- range $name, $group := .Values.workers -}}
{{- if and (hasKey $group "terminationGracePeriodSeconds") (lt (int64 $group.terminationGracePeriodSeconds) $grace) -}}
{{- include "manta.refuse" (dict "path" (printf "workers.%s.terminationGracePeriodSeconds" $name) "given" $group.terminationGracePeriodSeconds "allowed" (printf "must be at least %d: what was admitted ends within endpoint.serve.request_timeout_s, after proxy.drainSeconds" $grace)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "manta-serve.rules.upgrade" -}}
{{- $type := .Values.upgrade.type -}}
{{- $cluster := .Values.upgrade.cluster -}}
{{- if not (has $type (list "NewCluster" "NewClusterWithIncrementalUpgrade" "None")) -}}
{{- include "manta.refuse" (dict "path" "upgrade.type" "given" $type "allowed" "must be NewCluster, NewClusterWithIncrementalUpgrade or None") -}}
{{- end -}}
{{- if and $cluster.gatewayClassName (ne $type "NewClusterWithIncrementalUpgrade") -}}
{{- include "manta.refuse" (dict "path" "upgrade.cluster.gatewayClassName" "given" $cluster.gatewayClassName "allowed" "needs upgrade.type=NewClusterWithIncrementalUpgrade") -}}
{{- end -}}
{{- if eq $type "NewClusterWithIncrementalUpgrade" -}}
{{- if not .Values.autoscaling.enabled -}}
{{- include "manta.refuse" (dict "path" "upgrade.type" "given" $type "allowed" "needs autoscaling.enabled=true") -}}
{{- end -}}
{{- if not $cluster.gatewayClassName -}}
{{- include "manta.refuse" (dict "path" "upgrade.cluster.gatewayClassName" "given" "" "allowed" "upgrade.type=NewClusterWithIncrementalUpgrade needs the class of a Gateway, such as istio") -}}
{{- end -}}
{{- range $key := list "ingress" "httpRoute" -}}
{{- if (get $.Values $key).enabled -}}
{{- include "manta.refuse" (dict "path" (printf "%s.enabled" $key) "given" true "allowed" "with upgrade.type=NewClusterWithIncrementalUpgrade the operator makes Gateway and HTTPRoute itself; leave it out") -}}
{{- end -}}
{{- end -}}
{{- range $key := list "stepSizePercent" "maxSurgePercent" -}}
{{- $given := get $cluster $key | int64 -}}
{{- if or (lt $given 0) (gt $given 100) -}}
{{- include "manta.refuse" (dict "path" (printf "upgrade.cluster.%s" $key) "given" $given "allowed" "must be from 0 to 100") -}}
{{- end -}}
{{- end -}}
{{- if gt (int64 $cluster.stepSizePercent) (int64 $cluster.maxSurgePercent) -}}
{{- include "manta.refuse" (dict "path" "upgrade.cluster.stepSizePercent" "given" $cluster.stepSizePercent "allowed" (printf "must be at most upgrade.cluster.maxSurgePercent, %d" (int64 $cluster.maxSurgePercent))) -}}
{{- end -}}
{{- if le (int64 $cluster.intervalSeconds) 0 -}}
{{- include "manta.refuse" (dict "path" "upgrade.cluster.intervalSeconds" "given" $cluster.intervalSeconds "allowed" "must be above 0") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "manta-serve.rules.endpoint" -}}
{{- $endpoint := .Values.endpoint -}}
{{- if not $endpoint.bundle -}}
{{- include "manta.refuse" (dict "path" "endpoint.bundle" "given" "" "allowed" "name a bundle or an ensemble, such as runs/digits/bundle, relative to $MANTA_HOME") -}}
{{- end -}}
{{- with ($endpoint.http).host -}}
{{- include "manta.refuse" (dict "path" "endpoint.http.host" "given" . "allowed" "pods listen on all of their addresses, and networkPolicy says who may come in; leave it out") -}}
{{- end -}}
{{- if and .Values.tokens.secretName (not .Values.tokens.enabled) -}}
{{- include "manta.refuse" (dict "path" "tokens.secretName" "given" .Values.tokens.secretName "allowed" "needs tokens.enabled=true") -}}
{{- end -}}
{{- $port := include "manta-serve.port" . | int64 -}}
{{- with ($endpoint.grpc).port -}}
{{- if eq (int64 .) $port -}}
{{- include "manta.refuse" (dict "path" "endpoint.grpc.port" "given" . "allowed" "is endpoint.http.port too; choose another") -}}
{{- end -}}
{{- if not $.Values.tokens.enabled -}}
{{- include "manta.refuse" (dict "path" "tokens.enabled" "given" false "allowed" "without tokens replicas refuse gRPC from other machines; set tokens.enabled=true, or leave out endpoint.grpc") -}}
{{- end -}}
{{- end -}}
{{- $taken := list 6379 8080 8265 10001 44217 44227 52365 -}}
{{- range $path, $each := dict "endpoint.http.port" $port "endpoint.grpc.port" (($endpoint.grpc).port) -}}
{{- if and $each (has (int $each) $taken) -}}
{{- include "manta.refuse" (dict "path" $path "given" $each "allowed" (printf "Ray has the ports %s; choose another" ($taken | join ", "))) -}}
{{- end -}}
{{- end -}}
{{- with ($endpoint.auth).token_file -}}
{{- include "manta.refuse" (dict "path" "endpoint.auth.token_file" "given" . "allowed" "tokens come from a Secret; use tokens.secretName and tokens.key") -}}
{{- end -}}
{{- $least := dig "serve" "min_replicas" 1 $endpoint | int64 -}}
{{- $most := dig "serve" "max_replicas" 1 $endpoint | int64 -}}
{{- if gt $least $most -}}
{{- include "manta.refuse" (dict "path" "endpoint.serve.min_replicas" "given" $least "allowed" (printf "is above endpoint.serve.max_replicas, %d" $most)) -}}
{{- end -}}
{{- if dig "serve" "use_gpu" false $endpoint -}}
{{- $gpus := 0 -}}
{{- range .Values.workers }}{{ $gpus = add $gpus (dig "resources" "gpu" 0 .) }}{{ end -}}
{{- if not $gpus -}}
{{- include "manta.refuse" (dict "path" "endpoint.serve.use_gpu" "given" true "allowed" "no group of workers has resources.gpu") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "manta-serve.rules.availability" -}}
{{- $values := .Values -}}
{{- if $values.highAvailability -}}
{{- if eq $values.gcs.backend "none" -}}
{{- include "manta.refuse" (dict "path" "gcs.backend" "given" "none" "allowed" "highAvailability=true needs redis or rocksdb: without it all replicas end with the head") -}}
{{- end -}}
{{- $least := dig "serve" "min_replicas" 1 $values.endpoint | int64 -}}
{{- if lt $least 2 -}}
{{- include "manta.refuse" (dict "path" "endpoint.serve.min_replicas" "given" $least "allowed" "highAvailability=true needs 2 or more") -}}
{{- end -}}
{{- if not $values.oneReplicaPerNode -}}
{{- include "manta.refuse" (dict "path" "oneReplicaPerNode" "given" false "allowed" "highAvailability=true needs replicas on nodes of their own") -}}
{{- end -}}
{{- if or (not $values.podDisruptionBudget.enabled) (lt (int64 $values.podDisruptionBudget.minAvailableWorkers) 1) -}}
{{- include "manta.refuse" (dict "path" "podDisruptionBudget.minAvailableWorkers" "given" $values.podDisruptionBudget.minAvailableWorkers "allowed" "highAvailability=true needs a budget of 1 or more") -}}
{{- end -}}
{{- end -}}
{{- if $values.oneReplicaPerNode -}}
{{- $nodes := 0 -}}
{{- range $values.workers -}}
{{- $replicas := .replicas | default .minReplicas | default 1 -}}
{{- $nodes = add $nodes (hasKey . "maxReplicas" | ternary .maxReplicas $replicas) -}}
{{- end -}}
{{- $most := dig "serve" "max_replicas" 1 $values.endpoint | int64 -}}
{{- if gt $most (int64 $nodes) -}}
{{- include "manta.refuse" (dict "path" "endpoint.serve.max_replicas" "given" $most "allowed" (printf "oneReplicaPerNode=true leaves room for %d, one on each worker" (int64 $nodes))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
