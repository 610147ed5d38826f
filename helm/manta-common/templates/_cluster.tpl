{{/*
The specification of a Ray cluster, the same in RayCluster, RayJob and RayService.

root       the chart
head       values of the head
workers    groups of workers by name
prefix     path of head and workers in the values, for messages: "" or jobs.NAME.
serving    ports of an endpoint by name, if workers answer requests; `serve` is that of HTTP
drain      seconds between the word to end and SIGTERM
grace      seconds between SIGTERM and the end of a worker
env        more environment of all pods
mounts     more volumes of all pods
annotations  of the Ray resource, which may not repeat the options
*/}}
{{- define "manta.clusterSpec" -}}
{{- $call := . -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- include "manta.rules.cluster" . -}}
rayVersion: {{ $values.rayVersion | quote }}
authOptions:
  mode: {{ $values.auth.enabled | ternary "token" "disabled" }}
  {{- with $values.auth.secretName }}
  secretName: {{ . | quote }}
  {{- end }}
  {{- if $values.auth.kubernetes }}
  enableK8sTokenAuth: true
  {{- end }}
{{- with include "manta.gcs" $root }}
gcsFaultToleranceOptions:
  {{- . | nindent 2 }}
{{- end }}
enableInTreeAutoscaling: {{ $values.autoscaling.enabled }}
{{- if $values.autoscaling.enabled }}
autoscalerOptions:
  version: {{ $values.autoscaling.version }}
  idleTimeoutSeconds: {{ $values.autoscaling.idleTimeoutSeconds | int64 }}
  upscalingMode: {{ $values.autoscaling.upscalingMode }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  resources:
    {{- include "manta.resources" $values.autoscaling.resources | nindent 4 }}
  securityContext:
    {{- include "manta.containerSecurity" . | nindent 4 }}
  env:
    - name: HOME
      value: /tmp
  volumeMounts:
    - name: tmp
      mountPath: /tmp
{{- end }}
headGroupSpec:
  {{- if or .head.serviceName .head.serviceAnnotations }}
  headService:
    metadata:
      {{- with .head.serviceName }}
      name: {{ . | quote }}
      {{- end }}
      {{- with .head.serviceAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- end }}
  {{- include "manta.rayGroup" (dict "group" .head) | nindent 2 }}
  template:
    {{- $ports := dict "gcs-server" 6379 "dashboard" 8265 "client" 10001 "metrics" 8080 "as-metrics" 44217 "dash-metrics" 44227 -}}
    {{- $ports = merge $ports (.serving | default dict) -}}
    {{- /* The head cannot move: cluster autoscalers are told so. */ -}}
    {{- $stay := dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" "karpenter.sh/do-not-disrupt" "true" -}}
    {{- include "manta.podTemplate" (dict "root" $root "pod" .head "component" "head" "container" "ray-head" "ports" $ports "home" true "token" $values.autoscaling.enabled "grace" 60 "env" .env "mounts" .mounts "annotations" $stay "extra" (include "manta.probes" (dict "timeout" 5))) | nindent 4 }}
workerGroupSpecs:
  {{- range $name, $group := .workers }}
  - groupName: {{ $name | quote }}
    {{- $replicas := $group.replicas | default $group.minReplicas | default 1 }}
    {{- if hasKey $group "replicas" }}{{ $replicas = $group.replicas }}{{ end }}
    replicas: {{ $replicas | int64 }}
    minReplicas: {{ hasKey $group "minReplicas" | ternary $group.minReplicas $replicas | int64 }}
    maxReplicas: {{ hasKey $group "maxReplicas" | ternary $group.maxReplicas $replicas | int64 }}
    {{- with $group.numOfHosts }}
    numOfHosts: {{ . | int64 }}
    {{- end }}
    {{- if hasKey $group "idleTimeoutSeconds" }}
    idleTimeoutSeconds: {{ $group.idleTimeoutSeconds | int64 }}
    {{- end }}
    {{- if hasKey $group "priority" }}
    priority: {{ $group.priority | int64 }}
    {{- end }}
    {{- include "manta.rayGroup" (dict "group" $group) | nindent 4 }}
    template:
      {{- $ports := merge (dict "metrics" 8080) ($call.serving | default dict) -}}
      {{- $extra := include "manta.probes" (dict "timeout" 2 "port" ($call.serving).serve "drain" $call.drain) -}}
      {{- include "manta.podTemplate" (dict "root" $root "pod" $group "component" (printf "worker-%s" $name) "container" "ray-worker" "ports" $ports "home" true "grace" ($call.grace | default 60) "env" $call.env "mounts" $call.mounts "extra" $extra) | nindent 6 }}
  {{- end }}
{{- end -}}

{{/* What Ray itself is told about a group; a group may have neither. */}}
{{- define "manta.rayGroup" -}}
rayStartParams:
  {{- .group.rayStartParams | default dict | toYaml | nindent 2 }}
{{- with .group.rayResources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .group.rayLabels }}
labels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
Those of the operator need wget in the image; these ask the same over HTTP. A worker that answers requests is ready
when its proxy is. A worker lives on for ten minutes without its head, which is how long it waits for it to come back.
*/}}
{{- define "manta.probes" -}}
startupProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: {{ .timeout }}
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: {{ .timeout }}
  failureThreshold: 120
readinessProbe:
  {{- if .port }}
  httpGet: {path: /-/healthz, port: {{ .port | int64 }}}
  {{- else }}
  httpGet: {path: /api/healthz, port: 52365}
  {{- end }}
  periodSeconds: 5
  timeoutSeconds: {{ .timeout }}
  failureThreshold: {{ empty .port | ternary 10 1 }}
{{- if .drain }}
lifecycle:
  preStop:
    exec:
      command: [sleep, {{ .drain | toString | quote }}]
{{- end }}
{{- end -}}

{{- define "manta.gcs" -}}
{{- $gcs := .Values.gcs -}}
{{- if eq $gcs.backend "redis" -}}
redisAddress: {{ $gcs.redis.address | quote }}
{{- with $gcs.redis.namespace }}
externalStorageNamespace: {{ . | quote }}
{{- end }}
{{- range $field, $key := dict "redisUsername" $gcs.redis.username "redisPassword" $gcs.redis.password }}
{{- with $key }}
{{ $field }}:
  valueFrom:
    secretKeyRef:
      name: {{ .name | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- else if eq $gcs.backend "rocksdb" -}}
backend: rocksdb
storage:
  {{- if $gcs.rocksdb.claimName }}
  claimName: {{ $gcs.rocksdb.claimName | quote }}
  {{- else }}
  size: {{ $gcs.rocksdb.size | default "2Gi" | quote }}
  {{- with $gcs.rocksdb.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Labels of a Ray resource for queues and gang scheduling. */}}
{{- define "manta.schedulingLabels" -}}
{{- $scheduling := .Values.scheduling -}}
{{- if eq $scheduling.scheduler "kueue" -}}
kueue.x-k8s.io/queue-name: {{ $scheduling.queue | quote }}
{{- with $scheduling.priorityClassName }}
kueue.x-k8s.io/priority-class: {{ . | quote }}
{{- end }}
{{- else if eq $scheduling.scheduler "volcano" -}}
ray.io/scheduler-name: volcano
{{- with $scheduling.queue }}
volcano.sh/queue-name: {{ . | quote }}
{{- end }}
{{- if $scheduling.gang }}
ray.io/gang-scheduling-enabled: "true"
{{- end }}
{{- with $scheduling.priorityClassName }}
ray.io/priority-class-name: {{ . | quote }}
{{- end }}
{{- end -}}
{{- end -}}
