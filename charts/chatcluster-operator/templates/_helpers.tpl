{{- define "chatcluster-operator.name" -}}
{{- printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "chatcluster-operator.selector" -}}
app.kubernetes.io/name: chatcluster-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "chatcluster-operator.labels" -}}
{{ include "chatcluster-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "chatcluster-operator.tag" -}}
{{- .Values.images.tag | default .Chart.AppVersion -}}
{{- end -}}

{{- /* The image of one target: include with (list . "chatserver"). */ -}}
{{- define "chatcluster-operator.image" -}}
{{- $root := index . 0 -}}
{{- printf "%schatcluster-%s:%s" $root.Values.images.registry (index . 1) (include "chatcluster-operator.tag" $root) -}}
{{- end -}}

{{- /* A list of strings as an expression of CEL, quoted for YAML. */ -}}
{{- define "chatcluster-operator.strings" -}}
{{- toJson (. | default list) | replace "\"" "'" | quote -}}
{{- end -}}

{{- /* Rules the operator needs where its ChatClusters live. tests/integration/operator/test_rights.py compares them with the code. */ -}}
{{- define "chatcluster-operator.rules" -}}
- apiGroups: [chatcluster.io]
  resources: [chatclusters]
  verbs: [get, list, watch]
- apiGroups: [chatcluster.io]
  resources: [chatclusters/status]
  verbs: [patch]
# get: by name, before a name is used: what has no labels of ours is in no list and no watch.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch]
# delete: of a probe that is disabled, of Valkey that is no longer the bus, and of instances of a database that the spec no
# longer requires. An admission policy forbids it for others.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, delete]
# The Gateway API's. Where it is not installed the rule grants nothing.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
# cert-manager's. Where it is not installed the rule grants nothing.
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
# delete: a claim of the wrong storage class that has no volume yet.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
# The account of a database with several instances. Its Role grants nothing that these rules do not.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
# patch: only annotations, which choose the server to remove and refresh mounted credentials.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
# list: of a StatefulSet or Job without a pod, to report why Kubernetes rejects it.
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- end -}}
