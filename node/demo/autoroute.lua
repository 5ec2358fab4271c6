-- Orthanc as the PACS that feeds Osteon: every CR/DX image that arrives is sent on to the node.
-- The modality alias "osteon" is defined in DicomModalities of orthanc.json.
-- Results (SR, SC) come back as other modalities and are not routed; even if they were, the node recognises its own.
function OnStoredInstance(instanceId, tags, metadata, origin)
  if tags['Modality'] == 'CR' or tags['Modality'] == 'DX' then
    SendToModality(instanceId, 'osteon')
  end
end
