{{/*
Egress rules for what workers download, in `rules`. Those of networkPolicy.models replace what follows from the models:
port 443 of any address, because the Hub, object stores and package indexes have many changing ones, and the endpoints
that issue a cloud identity.
*/}}
{{- define "headrace.downloads" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $far := false -}}
{{- $identity := false -}}
{{- range $i, $model := (include "headrace.configuration" . | fromJson).catalog.models -}}
{{- if eq $model.engine "vllm" -}}
{{- $sources := list $model.source -}}
{{- range $model.loras -}}{{- $sources = append $sources .source -}}{{- end -}}
{{- range $source := $sources -}}
{{- $scheme := regexFind "^(hf|s3|gs|az)://" $source -}}
{{- if $scheme -}}
{{- $own := hasPrefix $scheme $model.source -}}
{{- $mirror := ternary (get (default dict $model.environment) "HF_ENDPOINT") "" (eq $scheme "hf://") -}}
{{- $endpoint := default $mirror (ternary $model.endpoint "" $own) -}}
{{- if and $endpoint (not $policy.models) -}}
{{- fail (printf "networkPolicy.models is needed when catalog.models[%d] fetches %s from %s: say where that is" $i $source $endpoint) -}}
{{- end -}}
{{- $far = true -}}
{{- if and (ne $scheme "hf://") (not (and $own $model.token)) -}}{{- $identity = true -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- else if and (eq $model.engine "app") $model.installs -}}
{{- $far = true -}}
{{- end -}}
{{- end -}}
{{- $rules := $policy.models -}}
{{- if and $far (not $rules) -}}
{{- $rules = list (dict "to" (list (dict "ipBlock" (dict "cidr" "0.0.0.0/0"))) "ports" (list (dict "protocol" "TCP" "port" 443))) -}}
{{- if $identity -}}{{- $rules = concat $rules $policy.identity -}}{{- end -}}
{{- end -}}
{{- dict "rules" $rules | toJson -}}
{{- end }}
