{{/* Name of a Job with a digest of its spec, since Jobs are immutable; dict root, kind, spec (its text). */}}
{{- define "headrace.jobName" -}}
{{- printf "%s-%s" .kind (sha256sum .spec | trunc 10) -}}
{{- end -}}

{{/* Pod spec of a Job that works on the store; dict root, component, args, at (values with resources and placement). */}}
{{- define "headrace.storePod" -}}
serviceAccountName: {{ include "headrace.fullname" .root }}-jobs
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: Never
securityContext:
  {{- include "headrace.podSecurity" .root | nindent 2 }}
{{- with include "headrace.placement" (dict "root" .root "at" .root.Values.jobs) | trim }}
{{- . | nindent 0 }}
{{- end }}
containers:
  - name: {{ .component }}
    {{- include "headrace.container" (dict "root" .root) | nindent 4 }}
    command: [python, -m, serving.store]
    args:
      {{- toYaml .args | nindent 6 }}
    env:
      {{- include "headrace.storeEnvironment" .root | nindent 6 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      {{- include "headrace.storeMounts" .root | nindent 6 }}
      {{- with .mounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- include "headrace.storeVolumes" .root | nindent 2 }}
  {{- with .volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Spec of the pod that ingests a collection; dict root, collection, documents (a volume). */}}
{{- define "headrace.ingestPod" -}}
serviceAccountName: {{ include "headrace.fullname" .root }}-jobs
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: Never
securityContext:
  {{- include "headrace.podSecurity" .root | nindent 2 }}
{{- with include "headrace.placement" (dict "root" .root "at" .root.Values.jobs) | trim }}
{{- . | nindent 0 }}
{{- end }}
containers:
  - name: ingest
    {{- include "headrace.container" (dict "root" .root) | nindent 4 }}
    command: [python, -m, serving.ingest]
    args:
      - --url={{ include "headrace.url" .root }}
      - --collection={{ .collection.name }}
      - --documents=/documents{{ with (default dict .collection.persistentVolumeClaim).path }}/{{ . | trimPrefix "/" }}{{ end }}
      - --key=/etc/headrace/secrets/api-key
      {{- if not .collection.persistentVolumeClaim }}
      {{- /* The values list these documents individually. */}}
      - --every-kind
      {{- end }}
      {{- range .root.Values.catalog.collections }}
      {{- if eq .name $.collection.name }}
      - --restricted
      {{- end }}
      {{- end }}
    env:
      - name: HOME
        value: /tmp
    resources:
      {{- toYaml .root.Values.ingest.resources | nindent 6 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      - name: secrets
        mountPath: /etc/headrace/secrets
        readOnly: true
      - name: documents
        mountPath: /documents
        readOnly: true
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: {{ .root.Values.temporaryStorage }}
  {{- include "headrace.secretsVolume" (dict "root" .root "keys" (list "api-key")) | nindent 2 }}
  {{- list .documents | toYaml | nindent 2 }}
{{- end -}}
