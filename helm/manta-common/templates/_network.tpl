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
