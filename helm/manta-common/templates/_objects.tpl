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

{{/* root, and the port of the endpoint if there is one. */}}
{{- define "manta.networkPolicy" -}}
{{- $root := .root -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- if $policy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "manta.metadata" (dict "root" $root "name" (include "manta.fullname" $root)) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "manta.selectorLabels" $root | nindent 6 }}
  policyTypes: [Ingress{{ if $policy.egress.enabled }}, Egress{{ end }}]
  ingress:
    # Nodes of the cluster, the submitter, and tests.
    - from:
        - podSelector:
            matchLabels:
              {{- include "manta.selectorLabels" $root | nindent 14 }}
    # The operator asks the dashboard how things are, and the proxies.
    - from:
        - namespaceSelector: {}
          podSelector:
            matchLabels:
              app.kubernetes.io/name: kuberay-operator
      ports:
        - port: 8265
        {{- with .port }}
        - port: {{ . | int64 }}
        {{- end }}
    {{- if $policy.metrics }}
    - from:
        {{- range $policy.metrics }}
        - {{- include "manta.peer" . | trim | nindent 10 }}
        {{- end }}
      ports:
        - port: 8080
        - port: 44217
        - port: 44227
    {{- end }}
    {{- if $policy.clients }}
    - from:
        {{- range $policy.clients }}
        - {{- include "manta.peer" . | trim | nindent 10 }}
        {{- end }}
      ports:
        {{- range .clientPorts }}
        - port: {{ . | int64 }}
        {{- end }}
    {{- end }}
  {{- if $policy.egress.enabled }}
  egress:
    - to:
        - podSelector:
            matchLabels:
              {{- include "manta.selectorLabels" $root | nindent 14 }}
    - ports:
        - {port: 53, protocol: UDP}
        - {port: 53, protocol: TCP}
    {{- if $policy.egress.cidrs }}
    - to:
        {{- range $policy.egress.cidrs }}
        - ipBlock:
            cidr: {{ . | quote }}
        {{- end }}
      {{- with $policy.egress.ports }}
      ports:
        {{- range . }}
        - port: {{ . | int64 }}
        {{- end }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "manta.peer" -}}
{{- if hasKey . "namespaceLabels" -}}
namespaceSelector:
  matchLabels:
    {{- .namespaceLabels | default dict | toYaml | nindent 4 }}
{{ end -}}
{{- if or .podLabels (not (hasKey . "namespaceLabels")) -}}
podSelector:
  matchLabels:
    {{- .podLabels | default dict | toYaml | nindent 4 }}
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

{{/* root, service, port: an Ingress and an HTTPRoute to a Service. */}}
{{- define "manta.routes" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- range $path, $route := dict "ingress" $values.ingress "httpRoute" $values.httpRoute -}}
{{- if and $route.enabled $values.networkPolicy.enabled (not $values.networkPolicy.clients) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.enabled" $path) "given" true "allowed" "networkPolicy.clients lets nobody in; name the pods of the controller there") -}}
{{- end -}}
{{- end -}}
{{- with $values.ingress -}}
{{- if .enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "manta.metadata" (dict "root" $root "name" (include "manta.fullname" $root) "annotations" .annotations) | nindent 2 }}
spec:
  {{- with .className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with .tlsSecret }}
  tls:
    - secretName: {{ . | quote }}
      {{- with $values.ingress.host }}
      hosts: [{{ . | quote }}]
      {{- end }}
  {{- end }}
  rules:
    - {{ with .host }}host: {{ . | quote }}
      {{ end }}http:
        paths:
          - path: {{ .path | quote }}
            pathType: Prefix
            backend:
              service:
                name: {{ $.service | quote }}
                port:
                  number: {{ $.port | int64 }}
{{- end -}}
{{- end -}}
{{- with $values.httpRoute -}}
{{- if .enabled }}
{{- if not .parentRefs -}}
{{- include "manta.refuse" (dict "path" "httpRoute.parentRefs" "given" "[]" "allowed" "name the Gateway that the route belongs to") -}}
{{- end }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "manta.metadata" (dict "root" $root "name" (include "manta.fullname" $root) "annotations" .annotations) | nindent 2 }}
spec:
  parentRefs:
    {{- toYaml .parentRefs | nindent 4 }}
  {{- with .hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: {{ .path | quote }}
      backendRefs:
        - name: {{ $.service | quote }}
          port: {{ $.port | int64 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A pod of `helm test`: root, command (YAML), and if wanted env (YAML), mounts and volumes (YAML). */}}
{{- define "manta.testPod" -}}
{{- $root := .root -}}
apiVersion: v1
kind: Pod
metadata:
  {{- $annotations := dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" }}
  {{- include "manta.metadata" (dict "root" $root "name" (printf "%s-test" (include "manta.fullname" $root)) "component" "test" "annotations" $annotations) | nindent 2 }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $root.Values.security.runAsUser | int64 }}
    runAsGroup: {{ $root.Values.security.runAsGroup | int64 }}
    seccompProfile:
      type: RuntimeDefault
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  containers:
    - name: test
      image: {{ include "manta.image" (dict "root" $root) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      workingDir: /app
      command:
        {{- .command | nindent 8 }}
      env:
        - name: HOME
          value: /tmp
        {{- with .env }}
        {{- . | nindent 8 }}
        {{- end }}
      resources:
        {{- include "manta.resources" (dict "cpu" "500m" "memory" "1Gi") | nindent 8 }}
      securityContext:
        {{- include "manta.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- with .mounts }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- with .volumes }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
