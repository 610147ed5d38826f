{{/*
The template of every pod of Ray, written once.

root       the chart
pod        values of the pod: head, a group of workers, or a submitter
component  label
container  name of the container
ports      container ports (name: number)
home       whether $MANTA_HOME is mounted
token      whether the token of the service account is mounted
grace      seconds between SIGTERM and the end, unless the pod says otherwise
extra      more of the container (YAML): probes, lifecycle
env        more environment (name: text)
mounts     more volumes (name: {mountPath, readOnly, secret | configMap | claim | emptyDir})
*/}}
{{- define "manta.podTemplate" -}}
{{- $values := .root.Values -}}
{{- $pod := .pod -}}
{{- $volumes := merge (dict) (.mounts | default dict) ($pod.volumes | default dict) -}}
metadata:
  labels:
    {{- include "manta.stableLabels" (dict "root" .root "component" .component "more" $pod.labels) | nindent 4 }}
  {{- with mergeOverwrite (dict) (.annotations | default dict) ($pod.annotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "manta.serviceAccountName" .root | quote }}
  automountServiceAccountToken: {{ .token | default false }}
  enableServiceLinks: false
  {{- with .restartPolicy | default $pod.restartPolicy }}
  restartPolicy: {{ . | quote }}
  {{- end }}
  terminationGracePeriodSeconds: {{ hasKey $pod "terminationGracePeriodSeconds" | ternary $pod.terminationGracePeriodSeconds .grace | int64 }}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  {{- with $pod.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $pod.runtimeClassName }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- with $pod.schedulerName }}
  schedulerName: {{ . | quote }}
  {{- end }}
  {{- with $pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.tolerations }}
  tolerations:
    {{- range . }}
    - {{- include "manta.toleration" . | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- with $pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $pod.topologySpread }}
  topologySpreadConstraints:
    {{- range $pod.topologySpread }}
    - topologyKey: {{ .topologyKey | quote }}
      maxSkew: {{ .maxSkew | default 1 | int64 }}
      whenUnsatisfiable: {{ .whenUnsatisfiable | default "ScheduleAnyway" }}
      labelSelector:
        matchLabels:
          {{- include "manta.selectorLabels" $.root | nindent 10 }}
          app.kubernetes.io/component: {{ $.component | quote }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $values.security.runAsUser | int64 }}
    runAsGroup: {{ $values.security.runAsGroup | int64 }}
    fsGroup: {{ $values.security.fsGroup | int64 }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: {{ .container }}
      image: {{ include "manta.image" (dict "root" .root "own" $pod.image) | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      workingDir: /app
      {{- with .ports }}
      ports:
        {{- range $name, $port := . }}
        - name: {{ $name }}
          containerPort: {{ $port | int64 }}
        {{- end }}
      {{- end }}
      env:
        {{- include "manta.env" . | trim | nindent 8 }}
      {{- with $values.envFromSecrets }}
      envFrom:
        {{- range . }}
        - secretRef:
            name: {{ . | quote }}
        {{- end }}
      {{- end }}
      resources:
        {{- include "manta.resources" $pod.resources | nindent 8 }}
      securityContext:
        {{- include "manta.containerSecurity" . | nindent 8 }}
      {{- with .extra }}
      {{- . | nindent 6 }}
      {{- end }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if .home }}
        - name: home
          mountPath: {{ $values.storage.mountPath | quote }}
        {{- end }}
        {{- range $name, $volume := $volumes }}
        - name: {{ printf "v-%s" $name }}
          mountPath: {{ $volume.mountPath | quote }}
          {{- if and (hasKey $volume "readOnly" | ternary $volume.readOnly true) (not $volume.emptyDir) }}
          readOnly: true
          {{- end }}
        {{- end }}
  volumes:
    # The root file system is read-only: Ray's sessions, caches and $HOME lie here.
    - name: tmp
      emptyDir: {}
    {{- if .home }}
    - name: home
      {{- include "manta.homeVolume" .root | nindent 6 }}
    {{- end }}
    {{- range $name, $volume := $volumes }}
    - name: {{ printf "v-%s" $name }}
      {{- include "manta.volume" (dict "name" $name "volume" $volume) | nindent 6 }}
    {{- end }}
{{- end -}}

{{/* The environment of a pod: ours, that of all pods, that of these; the later wins. */}}
{{- define "manta.env" -}}
{{- $values := .root.Values -}}
{{- $ours := dict
      "HOME" "/tmp"
      "MANTA_HOME" (printf "%s/manta" $values.storage.mountPath)
      "MANTA_CACHE" "/tmp/manta-cache"
      "OMP_WAIT_POLICY" "PASSIVE"
      "THP_MEM_ALLOC_ENABLE" "1"
      "RAY_USAGE_STATS_ENABLED" "0"
      "RAY_worker_niceness" "0" -}}
{{- $all := mergeOverwrite $ours (deepCopy (.env | default dict)) (deepCopy $values.env) (deepCopy (.pod.env | default dict)) -}}
{{- range $name, $value := $all }}
- name: {{ $name }}
  {{- if kindIs "map" $value }}
  valueFrom:
    secretKeyRef:
      name: {{ $value.name | quote }}
      key: {{ $value.key | quote }}
  {{- else }}
  value: {{ $value | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Requests are limits. */}}
{{- define "manta.resources" -}}
{{- $given := . | default dict -}}
{{- $amounts := dict "cpu" ($given.cpu | default "1") "memory" ($given.memory | default "4Gi") -}}
{{- with $given.ephemeralStorage }}{{ $_ := set $amounts "ephemeral-storage" . }}{{ end -}}
{{- if $given.gpu -}}
{{- $_ := set $amounts ($given.gpuResource | default "nvidia.com/gpu") ($given.gpu | int64 | toString) -}}
{{- end -}}
requests:
  {{- toYaml $amounts | nindent 2 }}
limits:
  {{- toYaml $amounts | nindent 2 }}
{{- end -}}

{{/* Of every container: the Restricted standard of Kubernetes, and a read-only root file system. */}}
{{- define "manta.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "manta.toleration" -}}
{{- if not .key -}}
operator: Exists
{{- else -}}
key: {{ .key | quote }}
operator: {{ .operator | default "Equal" }}
{{- if hasKey . "value" }}
value: {{ .value | quote }}
{{- end }}
{{- end }}
{{- with .effect }}
effect: {{ . }}
{{- end }}
{{- if hasKey . "tolerationSeconds" }}
tolerationSeconds: {{ .tolerationSeconds | int64 }}
{{- end }}
{{- end -}}

{{- define "manta.volume" -}}
{{- $volume := .volume -}}
{{- $kinds := list -}}
{{- range $kind := list "secret" "configMap" "claim" "emptyDir" -}}
{{- if get $volume $kind }}{{ $kinds = append $kinds $kind }}{{ end -}}
{{- end -}}
{{- if ne (len $kinds) 1 -}}
{{- include "manta.refuse" (dict "path" (printf "volumes.%s" .name) "given" ($kinds | join ", " | default "nothing") "allowed" "one of secret, configMap, claim, emptyDir") -}}
{{- end -}}
{{- if $volume.secret -}}
secret:
  secretName: {{ $volume.secret | quote }}
{{- else if $volume.configMap -}}
configMap:
  name: {{ $volume.configMap | quote }}
{{- else if $volume.claim -}}
persistentVolumeClaim:
  claimName: {{ $volume.claim | quote }}
{{- else -}}
emptyDir:
  sizeLimit: {{ $volume.emptyDir | quote }}
{{- end }}
{{- end -}}

{{- define "manta.homeVolume" -}}
{{- if .Values.storage.claim -}}
persistentVolumeClaim:
  claimName: {{ .Values.storage.claim | quote }}
{{- else if .Values.storage.size -}}
persistentVolumeClaim:
  claimName: {{ include "manta.fullname" . | quote }}
{{- else -}}
emptyDir: {}
{{- end }}
{{- end -}}
