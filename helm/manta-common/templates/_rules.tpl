{{/*
What KubeRay's operator refuses only after `helm install` has said that all is well (ValidateRayClusterSpec).
include "manta.rules.cluster" takes what "manta.clusterSpec" takes.
*/}}
{{- define "manta.rules.cluster" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- include "manta.rules.auth" $root -}}
{{- include "manta.rules.gcs" . -}}
{{- include "manta.rules.autoscaling" . -}}
{{- include "manta.rules.scheduling" . -}}
{{- include "manta.rules.storage" $root -}}
{{- include "manta.rules.networkPolicy" $root -}}
{{- include "manta.rules.group" (dict "root" $root "group" .head "path" (printf "%shead" .prefix)) -}}
{{- range $name, $group := .workers -}}
{{- include "manta.rules.group" (dict "root" $root "group" $group "path" (printf "%sworkers.%s" $.prefix $name)) -}}
{{- end -}}
{{- end -}}

{{- define "manta.rules.auth" -}}
{{- $auth := .Values.auth -}}
{{- $version := .Values.rayVersion -}}
{{- if and $auth.enabled (not $version) -}}
{{- include "manta.refuse" (dict "path" "rayVersion" "given" "" "allowed" "auth.enabled needs the version of Ray, 2.52.0 or later") -}}
{{- end -}}
{{- if and $auth.enabled (not (semverCompare ">=2.52.0" $version)) -}}
{{- include "manta.refuse" (dict "path" "rayVersion" "given" $version "allowed" "auth.enabled needs Ray 2.52.0 or later; give such an image, or auth.enabled=false") -}}
{{- end -}}
{{- if $auth.kubernetes -}}
{{- if not $auth.enabled -}}
{{- include "manta.refuse" (dict "path" "auth.kubernetes" "given" true "allowed" "needs auth.enabled=true") -}}
{{- end -}}
{{- if not (semverCompare ">=2.55.0" $version) -}}
{{- include "manta.refuse" (dict "path" "rayVersion" "given" $version "allowed" "auth.kubernetes needs Ray 2.55.0 or later") -}}
{{- end -}}
{{- if $auth.secretName -}}
{{- include "manta.refuse" (dict "path" "auth.secretName" "given" $auth.secretName "allowed" "has no effect with auth.kubernetes=true; leave it out") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* RayJob and RayService: include "manta.rules.noKubernetesAuth" (dict "root" $ "kind" "RayJob") */}}
{{- define "manta.rules.noKubernetesAuth" -}}
{{- if .root.Values.auth.kubernetes -}}
{{- include "manta.refuse" (dict "path" "auth.kubernetes" "given" true "allowed" (printf "a %s takes a token of Ray's own; leave it out" .kind)) -}}
{{- end -}}
{{- end -}}

{{- define "manta.rules.gcs" -}}
{{- $gcs := .root.Values.gcs -}}
{{- $env := include "manta.allEnv" (dict "root" .root "pod" .head) | fromYaml -}}
{{- $params := .head.rayStartParams | default dict -}}
{{- if not (has $gcs.backend (list "none" "redis" "rocksdb")) -}}
{{- include "manta.refuse" (dict "path" "gcs.backend" "given" $gcs.backend "allowed" "must be none, redis or rocksdb") -}}
{{- end -}}
{{- range $name := list "RAY_REDIS_ADDRESS" "REDIS_USERNAME" "REDIS_PASSWORD" "RAY_GCS_STORAGE" "RAY_GCS_STORAGE_PATH" -}}
{{- if hasKey $env $name -}}
{{- include "manta.refuse" (dict "path" (printf "env.%s" $name) "given" (contains "PASSWORD" $name | ternary "…" (get $env $name)) "allowed" "the operator sets it; use gcs.redis or gcs.rocksdb, and no variable of the head") -}}
{{- end -}}
{{- end -}}
{{- range $name := list "redis-username" "redis-password" -}}
{{- if hasKey $params $name -}}
{{- include "manta.refuse" (dict "path" (printf "%shead.rayStartParams.%s" $.prefix $name) "given" "…" "allowed" "use gcs.redis.username and gcs.redis.password, which name a Secret") -}}
{{- end -}}
{{- end -}}
{{- range $name := list "ray.io/ft-enabled" "ray.io/external-storage-namespace" -}}
{{- with get $.root.Values.annotations $name -}}
{{- include "manta.refuse" (dict "path" (printf "annotations.%s" $name) "given" . "allowed" "use gcs.backend and gcs.redis.namespace; the operator refuses both together") -}}
{{- end -}}
{{- end -}}
{{- if and (eq $gcs.backend "redis") (not $gcs.redis.address) -}}
{{- include "manta.refuse" (dict "path" "gcs.redis.address" "given" "" "allowed" "gcs.backend=redis needs an address, such as redis:6379") -}}
{{- end -}}
{{- if ne $gcs.backend "redis" -}}
{{- range $name := list "address" "username" "password" "namespace" -}}
{{- with get $gcs.redis $name -}}
{{- include "manta.refuse" (dict "path" (printf "gcs.redis.%s" $name) "given" . "allowed" (printf "has no place with gcs.backend=%s; leave it out, or set gcs.backend=redis" $gcs.backend)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if ne $gcs.backend "rocksdb" -}}
{{- range $name := list "claimName" "size" "storageClassName" -}}
{{- with get $gcs.rocksdb $name -}}
{{- include "manta.refuse" (dict "path" (printf "gcs.rocksdb.%s" $name) "given" . "allowed" (printf "has no place with gcs.backend=%s; leave it out, or set gcs.backend=rocksdb" $gcs.backend)) -}}
{{- end -}}
{{- end -}}
{{- else if and $gcs.rocksdb.claimName (or $gcs.rocksdb.size $gcs.rocksdb.storageClassName) -}}
{{- include "manta.refuse" (dict "path" "gcs.rocksdb.claimName" "given" $gcs.rocksdb.claimName "allowed" "give a claim that exists, or gcs.rocksdb.size and storageClassName of one to make, not both") -}}
{{- end -}}
{{- end -}}

{{- define "manta.rules.autoscaling" -}}
{{- $autoscaling := .root.Values.autoscaling -}}
{{- $version := .root.Values.rayVersion -}}
{{- $isV2 := and $autoscaling.enabled (eq $autoscaling.version "v2") -}}
{{- if not (has $autoscaling.version (list "v1" "v2")) -}}
{{- include "manta.refuse" (dict "path" "autoscaling.version" "given" $autoscaling.version "allowed" "must be v2 or v1") -}}
{{- end -}}
{{- $env := include "manta.allEnv" (dict "root" .root "pod" .head) | fromYaml -}}
{{- if hasKey $env "RAY_enable_autoscaler_v2" -}}
{{- include "manta.refuse" (dict "path" "env.RAY_enable_autoscaler_v2" "given" (get $env "RAY_enable_autoscaler_v2") "allowed" "use autoscaling.enabled and autoscaling.version") -}}
{{- end -}}
{{- $groups := dict (printf "%shead" .prefix) .head -}}
{{- range $name, $group := .workers }}{{ $_ := set $groups (printf "%sworkers.%s" $.prefix $name) $group }}{{ end -}}
{{- range $path, $group := $groups -}}
{{- with $group.restartPolicy -}}
{{- if not (has . (list "Never" "Always")) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.restartPolicy" $path) "given" . "allowed" "must be Never or Always") -}}
{{- end -}}
{{- if and $isV2 (ne . "Never") -}}
{{- include "manta.refuse" (dict "path" (printf "%s.restartPolicy" $path) "given" . "allowed" "autoscaling.version=v2 needs Never; leave it out, or set autoscaling.version=v1") -}}
{{- end -}}
{{- end -}}
{{- if and (hasKey $group "idleTimeoutSeconds") (not $isV2) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.idleTimeoutSeconds" $path) "given" $group.idleTimeoutSeconds "allowed" "needs autoscaling.enabled=true and autoscaling.version=v2") -}}
{{- end -}}
{{- if hasKey $group "priority" -}}
{{- if not $isV2 -}}
{{- include "manta.refuse" (dict "path" (printf "%s.priority" $path) "given" $group.priority "allowed" "needs autoscaling.enabled=true and autoscaling.version=v2") -}}
{{- end -}}
{{- if not (and $version (semverCompare ">=2.56.0" $version)) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.priority" $path) "given" $group.priority "allowed" (printf "needs rayVersion 2.56.0 or later, and it is %q" $version)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "manta.rules.scheduling" -}}
{{- $scheduling := .root.Values.scheduling -}}
{{- if and (eq $scheduling.scheduler "kueue") (not $scheduling.queue) -}}
{{- include "manta.refuse" (dict "path" "scheduling.queue" "given" "" "allowed" "scheduling.scheduler=kueue needs the name of a LocalQueue") -}}
{{- end -}}
{{- if and (eq $scheduling.scheduler "kueue") .root.Values.autoscaling.enabled -}}
{{- include "manta.refuse" (dict "path" "autoscaling.enabled" "given" true "allowed" "kueue admits clusters of a fixed size; set autoscaling.enabled=false or another scheduling.scheduler") -}}
{{- end -}}
{{- if and $scheduling.gang (ne $scheduling.scheduler "volcano") -}}
{{- include "manta.refuse" (dict "path" "scheduling.gang" "given" true "allowed" "needs scheduling.scheduler=volcano; kueue admits all pods or none by itself") -}}
{{- end -}}
{{- if and (eq $scheduling.scheduler "kubernetes") $scheduling.queue -}}
{{- include "manta.refuse" (dict "path" "scheduling.queue" "given" $scheduling.queue "allowed" "needs scheduling.scheduler=kueue or volcano") -}}
{{- end -}}
{{- if and (eq $scheduling.scheduler "kubernetes") $scheduling.priorityClassName -}}
{{- include "manta.refuse" (dict "path" "scheduling.priorityClassName" "given" $scheduling.priorityClassName "allowed" "needs scheduling.scheduler=kueue or volcano; pods have priorityClassName in head and workers") -}}
{{- end -}}
{{- end -}}

{{- define "manta.rules.storage" -}}
{{- $storage := .Values.storage -}}
{{- if and $storage.claim (or $storage.size $storage.storageClassName) -}}
{{- include "manta.refuse" (dict "path" "storage.claim" "given" $storage.claim "allowed" "give a claim that exists, or storage.size and storageClassName of one to make, not both") -}}
{{- end -}}
{{- if and $storage.storageClassName (not $storage.size) -}}
{{- include "manta.refuse" (dict "path" "storage.storageClassName" "given" $storage.storageClassName "allowed" "needs storage.size") -}}
{{- end -}}
{{- end -}}

{{- define "manta.rules.networkPolicy" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if and $policy.egress.cidrs (not $policy.egress.enabled) -}}
{{- include "manta.refuse" (dict "path" "networkPolicy.egress.cidrs" "given" $policy.egress.cidrs "allowed" "needs networkPolicy.egress.enabled=true") -}}
{{- end -}}
{{- if not $policy.enabled -}}
{{- if $policy.egress.enabled -}}
{{- include "manta.refuse" (dict "path" "networkPolicy.egress.enabled" "given" true "allowed" "needs networkPolicy.enabled=true") -}}
{{- end -}}
{{- if $policy.clients -}}
{{- include "manta.refuse" (dict "path" "networkPolicy.clients" "given" $policy.clients "allowed" "needs networkPolicy.enabled=true; without it everybody may come in") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What Kubernetes refuses in a toleration once pods are made: path, toleration */}}
{{- define "manta.rules.toleration" -}}
{{- $given := .toleration -}}
{{- if and (hasKey $given "value") (or (not $given.key) (eq ($given.operator | default "") "Exists")) -}}
{{- include "manta.refuse" (dict "path" .path "given" $given "allowed" "a value needs a key, and operator Equal") -}}
{{- end -}}
{{- if and (hasKey $given "tolerationSeconds") (ne ($given.effect | default "") "NoExecute") -}}
{{- include "manta.refuse" (dict "path" .path "given" $given "allowed" "tolerationSeconds needs effect NoExecute") -}}
{{- end -}}
{{- end -}}

{{- define "manta.rules.group" -}}
{{- range .group.tolerations -}}
{{- include "manta.rules.toleration" (dict "path" (printf "%s.tolerations" $.path) "toleration" .) -}}
{{- end -}}
{{- $group := .group -}}
{{- $params := $group.rayStartParams | default dict -}}
{{- if $group.rayResources -}}
{{- range $name := list "num-cpus" "num-gpus" "memory" "resources" -}}
{{- if hasKey $params $name -}}
{{- include "manta.refuse" (dict "path" (printf "%s.rayResources" $.path) "given" $group.rayResources "allowed" (printf "rayStartParams has %s already; give resources in one of them (%s.rayStartParams.%s: null)" $name $.path $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey $params "labels" -}}
{{- include "manta.refuse" (dict "path" (printf "%s.rayStartParams.labels" .path) "given" $params.labels "allowed" (printf "use %s.rayLabels" .path)) -}}
{{- end -}}
{{- $replicas := $group.replicas | default $group.minReplicas | default 1 -}}
{{- if hasKey $group "replicas" }}{{ $replicas = $group.replicas }}{{ end -}}
{{- $least := hasKey $group "minReplicas" | ternary $group.minReplicas $replicas -}}
{{- $most := hasKey $group "maxReplicas" | ternary $group.maxReplicas $replicas -}}
{{- if gt (int64 $least) (int64 $most) -}}
{{- $key := hasKey $group "minReplicas" | ternary "minReplicas" "maxReplicas" -}}
{{- include "manta.refuse" (dict "path" (printf "%s.%s" .path $key) "given" (get $group $key) "allowed" (printf "minReplicas may not be above maxReplicas, and they are %d and %d" (int64 $least) (int64 $most))) -}}
{{- end -}}
{{- if or (lt (int64 $replicas) (int64 $least)) (gt (int64 $replicas) (int64 $most)) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.replicas" .path) "given" $replicas "allowed" (printf "must be from minReplicas %d to maxReplicas %d" (int64 $least) (int64 $most))) -}}
{{- end -}}
{{- if and (not .root.Values.autoscaling.enabled) (lt (int64 $replicas) (int64 $most)) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.maxReplicas" .path) "given" $most "allowed" (printf "nothing starts more than replicas=%d without autoscaling.enabled=true" (int64 $replicas))) -}}
{{- end -}}
{{- end -}}
