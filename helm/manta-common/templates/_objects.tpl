{{/* What stands beside the Ray resource, the same in each chart. */}}

{{- define "manta.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "manta.metadata" (dict "root" . "name" (include "manta.serviceAccountName" .) "annotations" .Values.serviceAccount.annotations) | nindent 2 }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{- define "manta.claim" -}}
{{- if .Values.storage.size -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- $annotations := .Values.storage.keep | ternary (dict "helm.sh/resource-policy" "keep") dict }}
  {{- include "manta.metadata" (dict "root" . "name" (include "manta.fullname" .) "annotations" $annotations) | nindent 2 }}
spec:
  accessModes: [{{ .Values.storage.accessMode }}]
  {{- with .Values.storage.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .Values.storage.size | quote }}
{{- end -}}
{{- end -}}

{{/* root, workers */}}
{{- define "manta.disruptionBudgets" -}}
{{- $root := .root -}}
{{- $budget := $root.Values.podDisruptionBudget -}}
{{- $least := 0 -}}
{{- range .workers -}}
{{- $replicas := .replicas | default .minReplicas | default 1 -}}
{{- $least = add $least (hasKey . "minReplicas" | ternary .minReplicas $replicas) -}}
{{- end -}}
{{- if $budget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "manta.metadata" (dict "root" $root "name" (printf "%s-head" (include "manta.fullname" $root)) "component" "head") | nindent 2 }}
spec:
  minAvailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "manta.selectorLabels" $root | nindent 6 }}
      app.kubernetes.io/component: head
{{- with $budget.minAvailableWorkers }}
{{- if ge (int64 .) (int64 $least) }}
{{- include "manta.refuse" (dict "path" "podDisruptionBudget.minAvailableWorkers" "given" . "allowed" (printf "must be below the fewest workers there are, %d, or no node could ever be drained" (int64 $least))) }}
{{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "manta.metadata" (dict "root" $root "name" (printf "%s-workers" (include "manta.fullname" $root)) "component" "workers") | nindent 2 }}
spec:
  minAvailable: {{ . | int64 }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "manta.selectorLabels" $root | nindent 6 }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: NotIn, values: [head, test, submitter]}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "manta.externalSecrets" -}}
{{- $root := . -}}
{{- range $name, $secret := .Values.externalSecrets }}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  {{- include "manta.metadata" (dict "root" $root "name" $name) | nindent 2 }}
spec:
  refreshInterval: {{ $secret.refreshInterval | default "1h" | quote }}
  secretStoreRef:
    name: {{ $secret.store | quote }}
    kind: {{ $secret.storeKind | default "ClusterSecretStore" }}
  target:
    name: {{ $name | quote }}
    creationPolicy: Owner
  data:
    {{- range $key, $remote := $secret.data }}
    - secretKey: {{ $key | quote }}
      remoteRef:
        key: {{ $remote.key | quote }}
        {{- with $remote.property }}
        property: {{ . | quote }}
        {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "manta.extraManifests" -}}
{{- range .Values.extraManifests }}
---
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}
