{{/*
Names, labels and references that all objects use.
*/}}

{{- define "headrace.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* KubeRay appends a suffix to the RayService's name, which may have at most 47 characters. */}}
{{- define "headrace.fullname" -}}
{{- $name := include "headrace.name" . -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if contains $name .Release.Name }}{{ $full = .Release.Name }}{{ end -}}
{{- if .Values.fullnameOverride }}{{ $full = .Values.fullnameOverride }}{{ end -}}
{{- $full = $full | trunc 47 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "the release's full name is '%s': KubeRay wants lower case letters, digits and '-', and a letter first; set fullnameOverride" $full) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{/* Labels for selectors, which never change during a release's life. */}}
{{- define "headrace.selector" -}}
app.kubernetes.io/name: {{ include "headrace.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of a pod, without the chart's version: a new chart version alone must not restart the pods. */}}
{{- define "headrace.podLabels" -}}
{{ include "headrace.selector" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "headrace.labels" -}}
{{ include "headrace.podLabels" . }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* metadata of an object; dict root, component, name (appended to the full name), labels and annotations (optional). */}}
{{- define "headrace.metadata" -}}
{{- $annotations := merge (dict) (default dict .annotations) (default dict .root.Values.commonAnnotations) -}}
name: {{ include "headrace.fullname" .root }}{{ with .name }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "headrace.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* JSON of an image; dict root, image: its own repository, tag or digest replaces the default image. */}}
{{- define "headrace.imageFields" -}}
{{- $own := default dict .image -}}
{{- $all := .root.Values.image -}}
{{- $other := or $own.repository $own.tag $own.digest -}}
{{- dict
      "registry" (default $all.registry $own.registry)
      "repository" (default $all.repository $own.repository)
      "tag" (ternary $own.tag $all.tag (not (not $other)))
      "digest" (ternary $own.digest $all.digest (not (not $other)))
      "pullPolicy" (default $all.pullPolicy $own.pullPolicy)
    | toJson -}}
{{- end -}}

{{/* The reference of an image; dict root, image. */}}
{{- define "headrace.image" -}}
{{- $image := include "headrace.imageFields" . | fromJson -}}
{{- $registry := default $image.registry .root.Values.imageRegistry -}}
{{- $reference := printf "%s/%s" $registry $image.repository | trimPrefix "/" -}}
{{- if $image.digest -}}
{{- $reference = printf "%s@%s" $reference $image.digest -}}
{{- else -}}
{{- $reference = printf "%s:%s" $reference (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- get .root.Values.imageMap $reference | default $reference -}}
{{- end -}}

{{- define "headrace.pullPolicy" -}}
{{- (include "headrace.imageFields" . | fromJson).pullPolicy -}}
{{- end -}}

{{/* Name of the replicas' program, which changes with the image. */}}
{{- define "headrace.build" -}}
{{- if .Values.build -}}{{ .Values.build }}
{{- else if .Values.image.digest -}}{{ .Values.image.digest | trimPrefix "sha256:" | trunc 16 }}
{{- else -}}{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* JSON of a pool's values over the defaults of files/pool.yaml, without `merge`, which ignores 0 and "". */}}
{{- define "headrace.pool" -}}
{{- $pool := .root.Files.Get "files/pool.yaml" | fromYaml -}}
{{- range $key, $value := default dict .at -}}{{- $_ := set $pool $key $value -}}{{- end -}}
{{- $pool | toJson -}}
{{- end -}}

{{- define "headrace.secretName" -}}
{{- default (include "headrace.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{/* "true" if a switch is true, or auto and the cluster has the named API. */}}
{{- define "headrace.switch" -}}
{{- if eq (toString .value) "auto" -}}{{ .root.Capabilities.APIVersions.Has .api }}{{- else -}}{{ .value }}{{- end -}}
{{- end -}}

{{- define "headrace.url" -}}
http://{{ include "headrace.fullname" . }}-serve-svc:8000
{{- end -}}
