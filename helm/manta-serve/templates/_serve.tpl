{{/*
The configuration of Ray Serve. The words of the endpoint are its arguments; where it listens are options of Serve
itself. The schema of the chart is that of lib.config, so that no key can be misspelt, which Ray would ignore.
*/}}
{{- define "manta-serve.config" -}}
{{- $endpoint := .Values.endpoint -}}
proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: {{ include "manta-serve.port" . }}
{{- with ($endpoint.grpc).port }}
grpc_options:
  port: {{ . | int64 }}
  grpc_servicer_functions: [serving.messages.add_to_server]
  enable_reflection: false
{{- end }}
applications:
  - name: manta
    import_path: serving.app:build
    route_prefix: /
    args:
      {{- omit $endpoint "http" "grpc" | toYaml | nindent 6 }}
    {{- if .Values.oneReplicaPerNode }}
    deployments:
      - name: Gateway
        max_replicas_per_node: 1
    {{- end }}
{{- end -}}

{{- define "manta-serve.port" -}}
{{- dig "http" "port" 8000 .Values.endpoint | int64 -}}
{{- end -}}

{{/* A replica takes what it has admitted to its end: the timeout of a request, and five seconds to stop. */}}
{{- define "manta-serve.grace" -}}
{{- $timeout := dig "serve" "request_timeout_s" 30 .Values.endpoint | float64 | ceil | int64 -}}
{{- add $timeout 5 .Values.proxy.drainSeconds 10 -}}
{{- end -}}

{{- define "manta-serve.tokensName" -}}
{{- .Values.tokens.secretName | default (printf "%s-tokens" (include "manta.fullname" .)) -}}
{{- end -}}

{{/* The Service that the operator makes. */}}
{{- define "manta-serve.serviceName" -}}
{{- printf "%s-serve-svc" (include "manta.fullname" .) -}}
{{- end -}}
